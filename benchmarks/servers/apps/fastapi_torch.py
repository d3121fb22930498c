"""FastAPI, pydantic and torch, as most tutorials have it: the model is called in FastAPI's pool of threads."""

import os

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

torch.set_num_threads(1)
model = torch.export.load(os.environ["PROGRAM"]).module()
app = FastAPI()


class Asked(BaseModel):
    """Rows to score."""

    rows: list[list[float]]


class Scores(BaseModel):
    """Their scores."""

    score: list[float]


@app.post("/score")
def score(asked: Asked) -> Scores:
    """Score the rows."""
    with torch.inference_mode():
        return Scores(score=model(torch.tensor(asked.rows)).tolist())


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", access_log=False)
