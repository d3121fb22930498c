"""The configuration of a fit: everything has a default, nothing is ignored."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from vaekit.errors import ConfigError
from vaekit.nn.build import ModelConfig, preset
from vaekit.nn.parts import Part
from vaekit.training.losses import Ramp, objective_of
from vaekit.training.recipes import recipe as get_recipe

__all__ = ["Config", "TrainConfig", "load_config"]

_TOP = ("preset", "seed", "split_seed", "device", "price_per_hour")  # options of no part


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the model is trained; None means "by the size of the data".

    Args:
        epochs: Passes over the training rows.
        max_seconds: Wall-clock budget; the learning rate decays to its end within it.
        batch_size: Rows per step.
        objective: The bound: ``elbo``, or ``iwae``: the importance-weighted bound of `samples` draws. That costs more
            per step, and learns more where the posterior is hard to fit, above all on rows with many missing cells.
            ``dreg`` and ``stl`` are the same with other gradients, ``capacity`` steers the KL to a number of nats. A
            mapping holds its name and options.
        terms: Terms that are added to the bound, each with its options: ``total_correlation``, ``density_ratio``,
            ``dip``, ``mmd``, ``commitment``, ``adversarial``.
        schedules: How weights move, by name, over the first stage: ``beta``, ``beta.<group>``, ``tc``,
            ``latent.temperature``, ... One of ``beta`` stands in for `warmup`.
        lagging: Most steps of the inference network alone before each step: until its loss stops falling, and no longer
            once mutual information between rows and codes is above 0.1 nats and has stopped rising.
        encoder_share: Share of the epochs for which the inference network is trained on, alone, in the end.
        prior_share: Share of the epochs for which the prior is trained in the end; it is then not trained before.
        optimizer: ``adamw``, ``adam``, ``amsgrad``, ``nadam``, ``radam``, ``adamax`` or ``sgd``.
        momentum: Momentum of ``sgd``, 0.9 if not given; of nothing else.
        learning_rate: Peak rate; it follows a half cosine to 1 % of it.
        rate_warmup: Share of the planned steps, at most 100 of them, over which the rate rises to its peak; 0 starts at
            the peak. Slow first steps keep deep networks from harm, and put latent dimensions to sleep.
        restarts: Times that the rate goes back to its peak, in cycles of equal length (cosine with warm restarts).
        weight_decay: Decoupled (adamw) or L2 (all others) weight decay.
        clip: Largest norm of the gradient of all parameters; 0 switches clipping off.
        patience: Validations without a better ELBO before training stops.
        beta: Weight of the KL after warm-up.
        warmup: Share of the planned steps over which the weight of the KL rises from 0 to beta; 0 switches it off.
        free_bits: Nats per latent dimension that the objective does not reward to empty.
        samples: Samples K per row: Monte-Carlo for the ELBO, importance samples for ``iwae``, which needs at least 2.
        mask: Share of rows of which a random part is hidden from the model, so that it learns to answer with cells
            missing.
        valid: Share of rows kept for early stopping.
        calibration: Share of rows kept for calibration.
        balance: ``entropy`` gives fields with less than a nat of marginal entropy a larger weight (at most four times)
            in the first half of training, fading to 1 over the second; ``size`` lets a vector or image count as the
            root of its number of values in the same way; ``none`` trains on the plain ELBO throughout. Figures and
            early stopping are about the ELBO in any case.
        choose: Whether the likelihood of each column is chosen by short pilot fits before training; by default if the
            contract was inferred by the fit itself.
        ema: Decay of a running mean of the weights, by which the model is judged and which is kept, such as 0.999; 0
            for the weights themselves.
        micro_batch: Rows that go through the networks at a time; gradients add up to exactly that of the whole batch.
            For models whose batch does not fit into memory.
        precision: ``bfloat16`` computes the networks of encoder and decoder in half the bits, densities in all of them;
            ``auto`` does so where that was measured to be faster, and not to change the loss.
        threads: Processor threads of training. ``auto`` measures before the first step, if the run is long enough for
            that to pay, and leaves it to PyTorch otherwise.
        compile: Whether the step is compiled. ``auto`` measures likewise; compiling takes up to a minute.
        shuffle_buffer: MiB of encoded rows that are shuffled together, where rows stream because they do not fit into
            memory; about four times as much is in use.
        on_nan: What a number that is not finite does: ``stop`` the run, or ``restart`` it from its last checkpoint with
            half the learning rate, three times at most.
        keep: Number of latest checkpoints that stay in the run's folder; older ones are deleted. The best one stays.
        checkpoint_seconds: Seconds between checkpoints at most; each validation writes one as well.
    """

    epochs: int | None = None
    max_seconds: float | None = None
    batch_size: int | None = None
    objective: Part = "elbo"
    terms: dict[str, dict[str, Any]] = {}
    schedules: dict[str, Ramp] = {}
    lagging: int = 0
    encoder_share: float = 0.0
    prior_share: float = 0.0
    optimizer: Literal["adamw", "adam", "amsgrad", "nadam", "radam", "adamax", "sgd"] = "adamw"
    momentum: float | None = None
    learning_rate: float = 4e-3
    rate_warmup: float = 0.01
    restarts: int = 0
    weight_decay: float = 1e-4
    clip: float = 10.0
    patience: int = 12
    beta: float = 1.0
    warmup: float = 0.1
    free_bits: float = 0.0
    samples: int = 1
    mask: float = 0.3
    valid: float = 0.1
    calibration: float = 0.1
    balance: Literal["entropy", "size", "none"] = "none"
    choose: bool | None = None
    ema: float = 0.0
    micro_batch: int | None = None
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    threads: int | Literal["auto"] = "auto"
    compile: bool | Literal["auto"] = "auto"
    shuffle_buffer: int = 64
    on_nan: Literal["stop", "restart"] = "stop"
    keep: int = 1
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        least = {
            "epochs": 1,
            "batch_size": 1,
            "patience": 1,
            "samples": 1,
            "threads": 1,
            "micro_batch": 1,
            "keep": 1,
            "shuffle_buffer": 1,
        }
        for name, low in (least | {"restarts": 0}).items():
            if isinstance(value := getattr(self, name), int) and value < low:
                raise ConfigError(f"{name} must be at least {low}, got {value}")
        for name in ("learning_rate", "max_seconds", "checkpoint_seconds"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0, got {value}")
        for name in ("weight_decay", "clip", "beta", "free_bits", "lagging", "encoder_share", "prior_share"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")
        objective_of(self)
        if self.momentum is not None and (self.optimizer != "sgd" or not 0.0 <= self.momentum < 1.0):
            raise ConfigError(
                f"momentum is for optimizer 'sgd' and in [0, 1); got {self.momentum} with {self.optimizer!r}"
            )
        if not 0.0 <= self.ema < 1.0:
            raise ConfigError(f"ema is a decay in [0, 1), got {self.ema}")
        for name in ("warmup", "rate_warmup", "mask"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a share between 0 and 1, got {getattr(self, name)}")
        if not (0 < self.valid < 1 and 0 <= self.calibration < 1 and self.valid + self.calibration < 1):
            raise ConfigError(
                f"valid and calibration are shares that must leave rows to train on; got {self.valid} and "
                f"{self.calibration}"
            )

    def sized(self, rows: int) -> TrainConfig:
        """The configuration with batch size and epochs chosen for a number of training rows."""
        batch = self.batch_size or (64 if rows < 2_000 else 128 if rows < 20_000 else 256 if rows < 100_000 else 512)
        epochs = self.epochs or int(min(max(6_000 * batch / max(rows, 1), 10), 300))
        return msgspec.structs.replace(self, batch_size=batch, epochs=epochs)


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole fit: the model's preset and changes to it, and the training.

    Args:
        preset: ``auto``, ``small``, ``medium`` or ``large``.
        recipe: A model of the literature by name; what is set beside it comes on top.
        seed: The one seed of the fit.
        split_seed: Seed of the splits, of a sample of the rows and of held-out figures; `seed` if not given. Fits that
            differ in `seed` alone then see the same rows.
        device: ``auto``, ``cpu``, ``cuda``…
        price_per_hour: What the device costs in an hour, in any currency; the record then says what the run cost.
        model: Changes to the preset.
        training: The training.
        track: Trackers by name, each with its options; JSON lines are written in any case.
    """

    preset: str = "auto"
    recipe: str | None = None
    seed: int = 0
    split_seed: int | None = None
    device: str = "auto"
    price_per_hour: float | None = None
    model: dict[str, Any] = {}
    training: TrainConfig = TrainConfig()
    track: dict[str, dict[str, Any]] = {}

    def __post_init__(self) -> None:
        if self.price_per_hour is not None and not self.price_per_hour >= 0.0:
            raise ConfigError(f"price_per_hour must not be negative, got {self.price_per_hour}")

    @property
    def rows_seed(self) -> int:
        """Seed of all that decides which rows are used for what."""
        return self.seed if self.split_seed is None else self.split_seed

    def architecture(self, rows: int, width: int) -> ModelConfig:
        """The model configuration for data of a size."""
        base = msgspec.structs.asdict(preset(self.preset, rows, width))
        return _convert(base | self.model, ModelConfig)

    def override(self, **changes: Any) -> Config:
        """Change options by name, wherever they live; None leaves an option as it is.

        Raises:
            ConfigError: If no part has such an option.

        Example:
            >>> Config().override(epochs=3, latent=2).training.epochs
            3
        """
        top, model, training = {}, dict(self.model), msgspec.structs.asdict(self.training)
        for name, value in changes.items():
            if value is None:
                continue
            if name in _TOP:
                top[name] = value
            elif name in training:
                training[name] = value
            elif name in ModelConfig.__struct_fields__:
                model[name] = value
            else:
                known = [*_TOP, *training, *ModelConfig.__struct_fields__]
                raise ConfigError(f"unknown option {name!r}; known: {', '.join(known)}")
        rest = {name: getattr(self, name) for name in (*_TOP, "recipe", "track")}
        return _convert(rest | {"model": model, "training": msgspec.to_builtins(training)} | top, Config)


def load_config(source: str | Path | Mapping[str, Any] | Config | None, recipe: str | None = None) -> Config:
    """A configuration from a TOML file, a mapping, or nothing, on top of a recipe.

    Args:
        source: Where it comes from.
        recipe: The recipe, if the source does not name one.

    Raises:
        ConfigError: If the file cannot be read, holds an option that is unknown or out of range, or names another
            recipe.

    Example:
        >>> load_config({"recipe": "beta-vae", "training": {"samples": 2}}).training.beta
        4.0
    """
    if isinstance(source, Config):
        if recipe not in (None, source.recipe):
            raise ConfigError(f"recipe {recipe!r} has to go into the given configuration, which has {source.recipe!r}")
        return source
    if source is None or isinstance(source, Mapping):
        return _cooked(dict(source or {}), recipe)
    try:
        return _cooked(tomllib.loads(Path(source).read_text()), recipe, str(source))
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: not valid TOML: {error}") from error


def _cooked(plain: dict[str, Any], name: str | None, source: str = "configuration") -> Config:
    """Plain settings on top of those of their recipe."""
    if name is not None and plain.get("recipe", name) != name:
        raise ConfigError(
            f"{source} names the recipe {plain['recipe']!r}, and {name!r} was asked for; name one of them"
        )
    if (name := name or plain.get("recipe")) is not None:
        found = get_recipe(name)
        for key, base in (("model", found.model), ("training", found.training)):
            plain[key] = {**base, **_convert(plain.get(key, {}), dict[str, Any], source)}
        plain["recipe"] = name
    made: Config = _convert(plain, Config, source)
    return made


def _convert(value: dict[str, Any], kind: Any, source: str = "configuration") -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {error}") from error
