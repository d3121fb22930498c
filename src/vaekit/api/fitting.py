"""`fit`: rows in, a model out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from vaekit.api.exporting import PROOF_ROWS
from vaekit.api.model import Model
from vaekit.api.reporting import report_fit
from vaekit.api.resident import resident
from vaekit.api.seeds import fit_seeds, refuse_other_runs
from vaekit.bundle import Architecture, Bundle
from vaekit.errors import ConfigError
from vaekit.fields.contract import Contract
from vaekit.fields.sources import open_source
from vaekit.queries.calibrate import calibrate
from vaekit.queries.evaluate import evaluate, some_rows
from vaekit.runtime import Engine

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.training import Config, Trained
    from vaekit.training.observers import Observer

__all__ = ["assemble", "fit"]

_BASELINE_ROWS, _LEAST_BASELINE, _BASELINE_CELLS = 50_000, 2_000, 10_000_000
_LATENT_ROWS = 500  # every draw is compared with every row


def fit(
    table: Any,
    contract: Contract | str | Path | None = None,
    config: Any = None,
    *,
    preset: str | None = None,
    recipe: str | None = None,
    seed: int | None = None,
    seeds: int | None = None,
    epochs: int | None = None,
    max_seconds: float | None = None,
    device: str | None = None,
    max_rows: int | None = None,
    stream: bool | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    allow_drift: bool = False,
    progress: bool = True,
    report: bool | Literal["no-rows"] = True,
    graphs: bool = True,
    track: str | Sequence[str] | None = None,
    parent: Mapping[str, Any] | None = None,
    observers: Sequence[Observer] = (),
    **options: Any,
) -> Model:
    """Learn the joint distribution of the rows of a table.

    Rows are split into training, early stopping and calibration, at random or by the fields of role ``time`` and
    ``entity``. Transforms are fitted on training rows only, training keeps the weights with the best validation ELBO,
    and the calibration rows, which neither saw, make the conformal p-values of `score` and `detect` honest. If the
    contract is inferred here, short pilot fits first choose the likelihood of numbers and counts that are set up by
    default; ``choose=False`` switches that off.

    Args:
        table: pandas, Polars, Arrow, a dict of arrays, a 2-D array, a path to Parquet (file or folder), CSV or Arrow,
            or anything else that `vaekit.fields.sources.open_source` takes. What does not fit into memory streams.
        contract: Fields with kinds and roles, or a file that holds them; inferred from all rows if not given.
        config: A TOML file or a mapping; options given here by name come on top.
        preset: ``auto``, ``small``, ``medium`` or ``large``.
        recipe: A model of the literature by name, such as ``beta-tcvae`` or ``vq-vae``; what is set beside it comes on
            top.
        seed: The one seed: the same seed, data and machine give the same model.
        seeds: Fit so many models, of `seed` and the seeds after it, on the same splits; only first weights, order of
            rows and noise differ. The best by validation is returned, with mean and standard deviation of the main
            figures in its `evaluation`; `out` keeps each run, and `vaekit.Ensemble.load` answers with all of them.
        epochs: Passes over the training rows; chosen by the size of the data if not given.
        max_seconds: Wall-clock budget of training, of each model.
        device: ``auto``, ``cpu``, ``cuda``…
        max_rows: Most rows to train on; of more, a uniform sample is taken, and the record says so.
        stream: Leave rows on disk, and read them through a bounded buffer in every epoch; by default if they do not fit
            into half of the free memory with all copies that training makes.
        out: Run folder: checkpoints, metrics.jsonl, contract.json, run.json, the bundle and report.html are written
            there.
        resume: Go on with the run in `out`; it begins if it was killed before its first checkpoint, or is not there.
        allow_drift: Go on although settings or data have changed, and say which; without it that is refused.
        progress: Show progress on standard error.
        report: Write report.html into `out`; ``no-rows`` leaves example rows out of it.
        graphs: Export the graphs of the bundle in `out`; without them it needs torch to answer.
        track: Names of trackers, ``mlflow``, ``tensorboard``, ``wandb``, with the options that `config` has for them;
            all that it names if not given.
        parent: The run that this one comes from, for the record: its ``kind`` and ``run``, and what else there is.
        observers: Told when training begins, at each validation and when it ends; one that raises
            `vaekit.training.observers.Stopped` ends the fit.
        options: Any other option of `vaekit.training.TrainConfig` or `vaekit.nn.build.ModelConfig`, by name.

    Returns:
        The model, ready to answer; `Model.save` writes its bundle.

    Raises:
        ContractError: If the table cannot be modelled or does not fit the contract.
        ConfigError: If an option is unknown or out of range.
        TrainingError: If there are too few rows, or a number is not finite.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> iris = load_iris(as_frame=True).frame
        >>> model = fit(iris, epochs=2, progress=False)
        >>> model.score(iris).column_names
        ['score', 'p_value']
    """
    try:
        from vaekit.api.tracking import Tracking, asked_trackers
        from vaekit.training import load_config, train
    except ModuleNotFoundError as error:
        raise ConfigError(f"fit needs {error.name}, which is not installed; install vaekit[train]") from error

    settings = load_config(config, recipe).override(
        preset=preset, seed=seed, epochs=epochs, max_seconds=max_seconds, device=device, **options
    )
    if isinstance(contract, str | Path):
        contract = Contract.load(contract)
    folder = Path(out) if out is not None else None
    source = open_source(table) if contract is None else contract.source(table)
    whole = source
    source, total = resident(whole, max_rows, settings.rows_seed, stream)
    if source.table is None and progress:
        print("the rows stream: they are encoded once, and kept on disk", file=sys.stderr)
    if total is not None and source.rows != total and progress:
        print(f"training on {source.rows:,} of {total:,} rows, a uniform sample", file=sys.stderr)
    inferred = contract is None
    asked = contract or Contract.infer(source if whole.once else whole)

    def keep(trained: Trained, model: Model, home: Path | None, page: bool | str) -> None:
        if home is None or not trained.leads:
            return
        (model if graphs else model.bundle).save(home / "bundle")
        if page:
            report_fit(model, trained, trained.rows, home / "report.html", show_rows=page != "no-rows")

    def one(contract: Contract, config: Config, home: Path | None, go_on: bool) -> tuple[Trained, Model]:
        """One model; the contract that is handed over is not looked at by anybody else."""
        with Tracking(asked_trackers(config, track), config.seed) as tracking:
            made = train(
                source,
                contract,
                config,
                out=home,
                resume=go_on,
                allow_drift=allow_drift,
                progress=progress,
                inferred=inferred,
                total=total,
                observers=(tracking, *observers),
                parent=parent,
            )
            model = assemble(made, made.rows, config.rows_seed)
            keep(made, model, home, seeds is None and report)
            tracking.finished(model.evaluation)
        return made, model

    refuse_other_runs(folder, seeds)
    if seeds is None:
        return one(asked, settings, folder, resume)[1]
    trained, model = fit_seeds(one, asked, settings, seeds, folder, resume=resume, progress=progress)
    keep(trained, model, folder, report)
    return model


def assemble(trained: Trained, rows: pa.Table, seed: int) -> Model:
    """Calibrate and evaluate a trained model, and put it into a bundle.

    Args:
        trained: The trained model.
        rows: The rows that its splits number.
        seed: Seed of the scoring draws and of the choice of rows.

    Returns:
        A model on the torch backend.
    """
    import pyarrow as pa
    import torch

    from vaekit.nn.build import VERSION
    from vaekit.runtime.torch_backend import TorchBackend
    from vaekit.training.batches import Resident
    from vaekit.training.information import latent_figures

    architecture = Architecture(
        blocks=trained.contract.blocks(),
        config=msgspec.to_builtins(trained.model),
        noise=dict(trained.vae.latent.noise),
        prior_noise=dict(trained.vae.latent.prior_noise),
        groups=dict(trained.vae.latent.groups),
        version=VERSION,
    )
    backend = TorchBackend(trained.vae.eval())
    engine = Engine(trained.contract, architecture, backend, {})
    splits = trained.splits
    calibration = calibrate(engine, rows.take(pa.array(splits.calibration)))
    held_out = splits.calibration if len(splits.calibration) else splits.valid
    wide = sum(spec.width for spec in architecture.blocks)
    most = min(_BASELINE_ROWS, max(_LEAST_BASELINE, _BASELINE_CELLS // wide))
    baseline = some_rows(rows.take(pa.array(splits.train)), most, seed)
    unseen = rows.take(pa.array(held_out))
    evaluation = evaluate(engine, unseen, baseline, seed)
    if evaluation:
        seen = Resident(trained.contract.encode(some_rows(unseen, _LATENT_ROWS, seed)), torch.device("cpu"))
        evaluation["latent"] = latent_figures(trained.vae, seen.take(slice(None)), seed)
    bundle = Bundle(
        contract=trained.contract,
        architecture=architecture,
        weights={name: value.detach().cpu().numpy() for name, value in trained.vae.state_dict().items()},
        calibration=calibration,
        evaluation=evaluation,
        run=trained.record,
    )
    return Model(bundle, backend, held_out=some_rows(unseen, PROOF_ROWS, seed))
