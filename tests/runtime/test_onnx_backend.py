"""Sessions are made once, by whichever thread comes first, with as many threads as were asked for."""

import threading
import time

import onnxruntime
import pytest

import vaekit as vk
from vaekit.errors import ConfigError


@pytest.mark.parametrize("threads", [1, 3])
def test_a_session_has_the_threads_that_were_asked_for(zoo, threads):
    backend = vk.load(zoo["visits"].bundle, threads=threads).engine.backend
    assert backend._session("score").get_session_options().intra_op_num_threads == threads


def test_threads_below_one_and_threads_of_torch_are_refused(zoo):
    with pytest.raises(ConfigError, match="threads must be at least 1, got 0"):
        vk.load(zoo["visits"].bundle, threads=0)
    with pytest.raises(ConfigError, match="threads are set for graphs only"):
        vk.load(zoo["visits"].bundle, "torch", threads=2)


def test_many_threads_make_one_session(zoo, monkeypatch):
    made, real = [], onnxruntime.InferenceSession

    def slow(*args, **options):
        time.sleep(0.05)  # long enough for all others to ask as well
        made.append(real(*args, **options))
        return made[-1]

    monkeypatch.setattr(onnxruntime, "InferenceSession", slow)
    model, ready, answers = vk.load(zoo["visits"].bundle), threading.Barrier(8), []

    def ask():
        ready.wait()
        answers.append(model.score(zoo["visits"].rows))

    callers = [threading.Thread(target=ask) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(made) == 1
    assert len(answers) == 8
    assert all(answer == answers[0] for answer in answers)
