"""Ask a vaekit service from Python: ``python score.py URL MODEL DATA``, with DATA in Parquet, CSV or Arrow.

A key, if the service wants one, comes from VAEKIT_API_KEY. Needs: pip install 'vaekit[client]'
"""

import asyncio
import sys

import vaekit as vk


def one_after_the_other(url: str, model: str, data: str) -> None:
    """The words are those of a model that was loaded; large tables go in parts, several at a time."""
    with vk.Client(url, model, timeout=10.0) as client:
        scores = client.score(data, attribution=True)
        strangest = max(range(scores.num_rows), key=lambda row: scores["score"][row].as_py())
        print(f"strangest of {scores.num_rows} rows: {strangest}, score {scores['score'][strangest].as_py():.4f} nats")
        kept = client.feedback(scores, row=strangest, outcome=False, note="looked at it: nothing wrong")
        print(f"feedback kept: {', '.join(kept['kept'])}, about version {kept['version']}")


async def at_once(url: str, model: str, data: str) -> None:
    """Several questions under way at a time."""
    async with vk.AsyncClient(url, model) as client:
        alarms, vectors = await asyncio.gather(client.detect(data, alpha=0.1), client.embed(data))
        print(
            f"alarms: {sum(alarms['anomaly'].to_pylist())}, embedding of {vectors['embedding'].type.list_size} numbers"
        )


if __name__ == "__main__":
    try:
        one_after_the_other(*sys.argv[1:])
        asyncio.run(at_once(*sys.argv[1:]))
    except vk.ServingError as error:
        sys.exit(f"error: {error}")
