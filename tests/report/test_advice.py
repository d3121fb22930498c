"""Every piece of advice, on data that deserves it and on data that does not."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine

import vaekit as vk
from tests.support import flights
from vaekit.fields import to_arrow
from vaekit.queries.evaluate import evaluate
from vaekit.report import advise_model, advise_table, table_facts


def advice(frame):
    table = to_arrow(frame)
    return {one.topic: one for one in advise_table(table_facts(table, vk.Contract.infer(table)))}


def cancer():
    return load_breast_cancer(as_frame=True).frame


def digits():
    x, y = load_digits(return_X_y=True)
    return pd.DataFrame(x, columns=[f"p{i}" for i in range(64)]).assign(target=y)


def shuffled(frame, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({name: rng.permutation(frame[name].to_numpy()) for name in frame})


def test_few_rows():
    assert advice(load_iris(as_frame=True).frame)["few rows"].verdict == "stop"
    assert "150 rows" in advice(load_iris(as_frame=True).frame)["few rows"].number
    assert advice(load_diabetes(as_frame=True).frame)["few rows"].verdict == "check"
    assert "few rows" not in advice(digits())
    assert "few rows" not in advice(cancer())


@pytest.mark.parametrize("frame", [cancer(), digits(), flights().to_pandas()], ids=["cancer", "digits", "flights"])
def test_independent_columns(frame):
    told = advice(frame)["dependence"]
    assert told.verdict == "fine"
    nats, se = (
        float(part) for part in told.number.removeprefix("at least ").removesuffix(" nats per row").split(" ± ")
    )
    assert nats > 5 * se
    mixed = advice(shuffled(frame))["dependence"]
    assert mixed.verdict == "stop"
    assert "will not beat one histogram" in mixed.sentence
    assert "±" in mixed.number


def test_one_column():
    assert advice({"x": np.random.default_rng(0).normal(size=600)})["one column"].verdict == "stop"


@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer])
def test_a_label_among_the_columns(load):
    frame = load(as_frame=True).frame
    assert "classifier" in advice(frame)["label target"].sentence
    assert not [topic for topic in advice(frame.drop(columns="target")) if topic.startswith("label")]
    frame["target"] = np.random.default_rng(0).permutation(frame["target"])
    assert not [topic for topic in advice(frame) if topic.startswith("label")]


def test_digits_have_a_label():
    assert advice(digits())["label target"].verdict == "check"


def test_flights_have_no_label():
    rows = flights().drop_columns(["hour"])  # which says whether it is evening
    assert not [topic for topic in advice(rows) if topic.startswith("label")]


def test_twins():
    frame = cancer()
    assert "twins" not in advice(frame)
    frame["radius in mm"] = frame["mean radius"] * 10
    told = advice(frame)["twins"]
    assert told.number == "1 pair of columns"
    assert "mean radius and radius in mm" in told.sentence


def test_repeated_rows():
    frame = cancer()
    assert "repeated rows" not in advice(frame)
    doubled = pd.concat([frame, frame.iloc[:100]])
    assert advice(doubled)["repeated rows"].number == "100 of 669 rows"
    categories = flights().select(["origin", "carrier", "evening"])
    assert "repeated rows" not in advice(categories)  # few combinations: they must repeat


def test_row_numbers():
    frame = cancer()
    assert not [topic for topic in advice(frame) if topic.startswith("row number")]
    frame["place"] = np.random.default_rng(0).permutation(len(frame)) + 1000
    assert "569 different values in 569 rows" in advice(frame)["row number place"].number
    frame = frame.rename(columns={"place": "id"})  # by its name it is left out to begin with
    assert "row number id" not in advice(frame)


def test_the_same_rows_get_the_same_advice():
    assert advice(cancer()) == advice(cancer())


# ----------------------------------------------------------------------------------------------------- after a fit

GOOD = {"iwae_64": -5.0, "marginal_nats": 8.0, "marginal_gain": {"nats": 3.0, "se": 0.1}, "latent_width": 4}


def topics(evaluation, record=None, weights=100, facts=None):
    return {one.topic: one.verdict for one in advise_model(evaluation, record or {}, weights, facts)}


def test_a_model_of_independent_columns_is_called_so(tmp_path):
    """On shuffled columns a fit gains nothing; on the columns as they are it does."""
    frame = cancer()[["mean radius", "mean texture", "mean area", "mean concavity"]]
    for rows, expected in ((frame, {"gain": "fine"}), (shuffled(frame), {"independence": "stop"})):
        model = vk.fit(to_arrow(rows), epochs=40, width=32, latent=3, calibration=0.3, progress=False)
        told = topics(model.evaluation)
        assert expected.items() <= told.items(), model.evaluation["marginal_gain"]


def test_the_paired_gain_has_its_own_standard_error(zoo):
    from vaekit.metrics.likelihood import log_mean_exp
    from vaekit.metrics.marginals import marginal_nats
    from vaekit.queries.base import weigh

    engine, kept = zoo["pair"].torch.engine, zoo["pair"]
    rows, train = kept.table.slice(0, 300), kept.table.slice(300)
    figures = evaluate(engine, rows, train, seed=0)
    blocks = engine.encode(rows)
    bound = log_mean_exp(np.concatenate([p.log_weight for p in weigh(engine, blocks, 64, 0, shared=False)], axis=1))
    alone = sum(marginal_nats(engine.architecture.blocks, engine.encode(train), blocks).values())
    gain = alone + bound
    assert figures["marginal_gain"]["nats"] == pytest.approx(gain.mean())
    assert figures["marginal_gain"]["se"] == pytest.approx(gain.std(ddof=1) / np.sqrt(300))
    assert figures["marginal_gain"]["nats"] == pytest.approx(figures["marginal_nats"] + figures["iwae_64"])
    assert abs(figures["shift"]["nats"]) < 4 * figures["shift"]["se"]


def test_a_copula_that_is_as_good():
    assert topics(GOOD | {"copula_nats": 6.0})["beyond linear"] == "fine"
    assert topics(GOOD | {"copula_nats": 5.1})["linear is enough"] == "stop"
    assert topics(GOOD | {"copula_nats": 5.1, "copula_gain": {"nats": 0.1, "se": 0.01}})["beyond linear"] == "fine"
    assert not {"linear is enough", "beyond linear"} & set(topics(GOOD))


def test_a_collapsed_latent_space():
    assert topics(GOOD | {"active_units": 0})["collapse"] == "stop"
    assert "collapse" not in topics(GOOD | {"active_units": 1})


def test_drift_over_time():
    """A model of rows in time order: a trend makes the last rows unlike the first, without one they are alike."""
    rng, rows = np.random.default_rng(0), 900
    for trend, told in ((2.5, True), (0.0, False)):
        x = rng.normal(size=rows) + trend * np.linspace(0, 1, rows)
        table = pa.table({"when": np.arange(rows), "x": x, "y": x + 0.3 * rng.normal(size=rows)})
        contract = vk.Contract.infer(table).replace("when", role="time")
        model = vk.fit(table, contract, epochs=3, width=16, latent=2, progress=False)
        assert ("drift over time" in topics(model.evaluation, model.bundle.run)) == told
        random = model.bundle.run | {"rows": {"split": "rows"}}
        assert "drift over time" not in topics(model.evaluation, random)


def test_more_weights_than_values():
    facts = table_facts(to_arrow(cancer()), vk.Contract.infer(cancer()))
    record = {"rows": {"train": 455, "split": "rows"}}
    assert topics(GOOD, record, weights=1_000_000, facts=facts)["few rows"] == "check"
    assert "few rows" not in topics(GOOD, record, weights=10_000, facts=facts)


def test_the_gravest_comes_first():
    found = advise_model(GOOD | {"active_units": 0}, {}, 100)
    assert [one.verdict for one in found] == ["stop", "fine"]
