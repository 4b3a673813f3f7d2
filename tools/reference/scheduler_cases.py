"""Which scheduler trajectories are compared: all of them live, some of them in the fixtures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from torch import Tensor

from . import toy
from .schedulers import (
    FLOW_SCHEDULERS,
    FLOW_SIDE,
    PREDICTIONS,
    SCHEDULERS,
    SPACINGS,
    TAKE_ETA,
    calls_a_step,
    class_defaults,
    class_has,
    distilled,
    entries,
    has,
    predictions,
    row,
    sigma_keys,
    sigma_schedules,
    spacings,
    with_keys,
)

LATENT_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
STEPS = (1, 2, 4, 10, 25, 50)
# Solvers that have no choice of algorithm and end, though they have a word for the former, which DPM-Solver's classes know.
_ORDER_ALONE = tuple(SCHEDULERS[name][0] for name in with_keys("solver_order", "algorithm_type", without="final_sigmas_type"))
_FOREIGN = tuple({"algorithm_type": class_defaults(each)["algorithm_type"]} for each in _ORDER_ALONE)


@dataclass(frozen=True)
class SchedulerCase:
    scheduler: str | None  # sdgen's name; None: the config's own class
    steps: int
    config: Mapping[str, Any] = field(default_factory=dict)  # what scheduler_config.json would say
    eta: float | None = None
    part: tuple[int, int] | None = None  # entries of the grid; None: all, from pure noise
    class_name: str = ""
    tokens: int | None = None  # of the picture; None: the pipeline says nothing of them
    even_sigmas: bool = False  # the pipeline gives sigmas from 1 to 1/N
    empirical: bool = False  # mu is FLUX.2's

    @property
    def diffusers_class(self) -> str:
        return row(self.scheduler)[0] if self.scheduler else self.class_name

    def constructor_options(self) -> dict[str, Any]:
        known = {key: value for key, value in self.config.items() if class_has(self.diffusers_class, key)}
        return {**known, **(row(self.scheduler)[1] if self.scheduler else {})}

    def run(self, noise: Tensor, exact: bool = False) -> toy.Trajectory:
        """What diffusers does."""
        options = self.constructor_options()
        return toy.run(self.diffusers_class, options, self.steps, noise, self.eta, self.part, exact, self._given())

    def _given(self) -> dict[str, Any]:
        """What the pipelines of flow models say to set_timesteps. They ask for the keys of mu whatever the class."""
        given: dict[str, Any] = {}
        if self.tokens is not None:
            from diffusers.pipelines.flux.pipeline_flux import calculate_shift  # which takes seconds
            from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu

            keys = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}
            given["mu"] = calculate_shift(self.tokens, *(self.config.get(key, own) for key, own in keys.items()))
            if self.empirical:
                given["mu"] = compute_empirical_mu(self.tokens, self.steps)
        if self.even_sigmas:
            given["sigmas"] = np.linspace(1.0, 1 / self.steps, self.steps)
        return given

    def describe(self) -> dict[str, Any]:
        """The case as the C++ side reads it."""
        named = {"scheduler": self.scheduler} if self.scheduler else {}
        ranged = {"range": list(self.part)} if self.part else {}
        sized = {"tokens": self.tokens} if self.tokens is not None else {}
        even = {key: True for key, given in (("even_sigmas", self.even_sigmas), ("empirical_shift", self.empirical)) if given}
        return {
            **named, **ranged, **sized, **even, "class": self.diffusers_class, "config": dict(self.config), "steps": self.steps,
            "eta": self.eta or 0.0,
        }  # fmt: skip


def all_cases() -> Iterator[SchedulerCase]:
    """Everything that tools/scheduler_parity.py compares."""
    yield from _product(STEPS, STEPS)
    yield from _etas()
    yield from _ranges((4, 10, 25))
    yield from _betas()
    yield from _keys()
    yield from _flows(STEPS)
    yield from _empirical_shifts()
    yield from refused_cases()


def fixture_cases() -> Iterator[SchedulerCase]:
    """What is checked in: of the product a part."""
    yield from _product((1, 4, 10), (3,))
    yield from _etas()
    yield from _ranges((6,))
    yield from _betas()
    yield from _keys()
    yield from _flows((1, 4, 10))
    yield from refused_cases()


def _base(name: str, **more: Any) -> dict[str, Any]:
    config = {**LATENT_DIFFUSION, **({"clip_sample": False} if has(name, "clip_sample") else {}), **more}
    return {key: value for key, value in config.items() if has(name, key)}


def _product(steps: tuple[int, ...], other_steps: tuple[int, ...]) -> Iterator[SchedulerCase]:
    """Every scheduler x spacing x sigma schedule x prediction type; other_steps: where the last is not epsilon."""
    for name in SCHEDULERS:
        for spacing, sigmas in product(spacings(name) or ("leading",), sigma_schedules(name)):
            for prediction in predictions(name):
                keys = {"timestep_spacing": spacing, "prediction_type": prediction, **sigma_keys(sigmas)}
                for count in steps if prediction == "epsilon" else other_steps:
                    yield SchedulerCase(name, count, _base(name, **keys))
        if not spacings(name):
            continue
        for count, spacing in product((3, 13, 30), SPACINGS):
            yield SchedulerCase(name, count, _base(name, timestep_spacing=spacing))
        yield SchedulerCase(name, 61, _base(name, timestep_spacing="trailing"))  # np.arange gives a 62nd, -1


def _etas() -> Iterator[SchedulerCase]:
    for name, eta, prediction in product(TAKE_ETA, (0.3, 0.7, 1.0), PREDICTIONS):
        for spacing in spacings(name) or ("leading",):
            for count in (1, 7, 25):
                yield SchedulerCase(name, count, _base(name, timestep_spacing=spacing, prediction_type=prediction), eta)


def _ranges(steps: tuple[int, ...]) -> Iterator[SchedulerCase]:
    """Parts of a grid, as image to image and the refiner run them."""
    for name, count in product(SCHEDULERS, steps):
        size, unit = entries(name, count), calls_a_step(name)
        parts = {(0, size // 2), (0, size - 1), (unit, size), (2 * unit, size), (3 * unit, size - 1)}
        for begin, end in sorted(parts | {((size - 1) // unit * unit, size)}):
            if begin >= end:
                continue
            for eta in (None, 0.6) if name in TAKE_ETA else (None,):
                config = _base(name, timestep_spacing="leading")
                yield SchedulerCase(name, count, config, eta, (begin, end))
            if name == "unipc":
                yield SchedulerCase(name, count, {**config, "solver_order": 3}, None, (begin, end))
        if spacings(name):
            config = _base(name, timestep_spacing="trailing", prediction_type="v_prediction")
            yield SchedulerCase(name, count, config, None, (2, size))
            yield SchedulerCase(name, count, config, None, (0, size // 2))


def _betas() -> Iterator[SchedulerCase]:
    trained = [1e-4 + 3e-4 * (i / 99) ** 2 * 100 for i in range(100)]
    for name in SCHEDULERS:
        for schedule in ("linear", "squaredcos_cap_v2"):
            for prediction in ("epsilon", "v_prediction"):
                config = _base(name, beta_schedule=schedule, prediction_type=prediction, timestep_spacing="leading")
                yield SchedulerCase(name, 7, config)
        config = _base(name, trained_betas=trained, num_train_timesteps=100, timestep_spacing="leading")
        yield SchedulerCase(name, 7, config)
        yield SchedulerCase(name, 7, {"clip_sample": False} if has(name, "clip_sample") else {})  # class defaults
        yield SchedulerCase(name, 7, _base(name, num_train_timesteps=600, timestep_spacing="linspace"))
        for offset in (0, 5):
            yield SchedulerCase(name, 7, _base(name, timestep_spacing="leading", steps_offset=offset))
        if has(name, "rescale_betas_zero_snr"):
            for spacing, prediction in product(spacings(name) or ("leading",), PREDICTIONS):
                if prediction in predictions(name):
                    keys = {"timestep_spacing": spacing, "prediction_type": prediction}
                    yield SchedulerCase(name, 7, _base(name, rescale_betas_zero_snr=True, **keys))
    for schedule in ("sigmoid", "laplace"):
        yield SchedulerCase("ddpm", 7, _base("ddpm", beta_schedule=schedule))
    yield SchedulerCase("heun", 7, _base("heun", beta_schedule="exp"))


def _each(name: str, steps: tuple[int, ...], variants: tuple[dict[str, Any], ...], **common: Any) -> Iterator[SchedulerCase]:
    for keys, count in product(variants, steps):
        yield SchedulerCase(name, count, _base(name, **common) | keys)


def _own(class_name: str, steps: tuple[int, ...], variants: tuple[dict[str, Any], ...]) -> Iterator[SchedulerCase]:
    """A folder's own scheduler."""
    for keys, count in product(variants, steps):
        known = {key: value for key, value in LATENT_DIFFUSION.items() if class_has(class_name, key)}
        yield SchedulerCase(None, count, {**known, **keys}, class_name=class_name)


def _keys() -> Iterator[SchedulerCase]:
    """The keys of single classes."""
    limits = (
        {"thresholding": True, "sample_max_value": 1.5, "dynamic_thresholding_ratio": 0.9},
        {"thresholding": True, "sample_max_value": 100.0, "dynamic_thresholding_ratio": 0.83},
    )
    clips = (
        {"clip_sample": True},
        {"clip_sample": True, "clip_sample_range": 2.5},
        {"thresholding": True, "clip_sample": True},
    )
    for name, prediction in product(with_keys("thresholding", "clip_sample"), PREDICTIONS):
        yield from _each(name, (7,), limits + clips, prediction_type=prediction)
    for name in with_keys("clip_sample", without="thresholding"):
        yield from _each(name, (7,), clips[:2])
    for name in with_keys("thresholding", without="clip_sample"):
        yield from _each(name, (7,), limits)
    for spacing in SPACINGS:
        ends = ({"set_alpha_to_one": True}, {"set_alpha_to_one": False})
        yield from _each("ddim", (7,), ends, timestep_spacing=spacing)
        yield from _each("plms", (1, 2, 7), ends, timestep_spacing=spacing)
        yield from _each("pndm", (4, 7), ends, timestep_spacing=spacing)
        variances = tuple({"variance_type": each} for each in ("fixed_small", "fixed_small_log", "fixed_large"))
        yield from _each("ddpm", (7,), variances, timestep_spacing=spacing)
        yield from _euler_keys(spacing)
        yield from _solver_keys(spacing)
    for name in filter(distilled, SCHEDULERS):
        yield from _each(name, (1, 7), ({"original_inference_steps": 20},))
    yield from _each("lcm", (1, 7), ({"timestep_scaling": 3.0},))
    yield from _own_keys()


def _euler_keys(spacing: str) -> Iterator[SchedulerCase]:
    variants = (
        {"final_sigmas_type": "sigma_min"},
        {"interpolation_type": "log_linear"},
        {"interpolation_type": "log_linear", "use_karras_sigmas": True},
        {"use_karras_sigmas": True, "sigma_min": 0.05, "sigma_max": 10.0},
        {"use_exponential_sigmas": True, "sigma_min": 0.05},
        {"use_beta_sigmas": True, "sigma_max": 12.5, "final_sigmas_type": "sigma_min"},
        {"timestep_type": "continuous", "prediction_type": "v_prediction"},
        {"timestep_type": "continuous", "prediction_type": "v_prediction", "use_karras_sigmas": True,
         "sigma_min": 0.002, "sigma_max": 700.0},
        {"timestep_type": "continuous"},
    )  # fmt: skip
    yield from _each("euler", (7, 13), variants, timestep_spacing=spacing)


def _solver_keys(spacing: str) -> Iterator[SchedulerCase]:
    ends = (
        {"final_sigmas_type": "sigma_min"},
        {"final_sigmas_type": "sigma_min", "lower_order_final": False},
        {"final_sigmas_type": "sigma_min", "use_karras_sigmas": True},
    )
    dpm = (
        {"final_sigmas_type": "sigma_min", "lower_order_final": False, "euler_at_final": True},
        {"lower_order_final": False},
        {"solver_type": "heun"},
        {"solver_type": "heun", "final_sigmas_type": "sigma_min"},
        {"use_lu_lambdas": True},
        {"use_lu_lambdas": True, "use_exponential_sigmas": True},
        {"lambda_min_clipped": -5.1, "beta_schedule": "squaredcos_cap_v2"},
    )
    for name in ("dpm++2m", "dpm++3m", "dpm++2m-sde"):
        yield from _each(name, (7, 20), ends + dpm, timestep_spacing=spacing)
    unipc = (
        {"solver_order": 1}, {"solver_order": 3}, {"solver_order": 3, **ends[0]}, {"solver_order": 3, **ends[1]},
        {"solver_order": 4, **ends[1]},
        {"solver_type": "bh1", **ends[0]}, {"solver_type": "bh1", "solver_order": 3, **ends[0]},
        {"predict_x0": False, **ends[0]}, {"predict_x0": False, "solver_order": 3, "solver_type": "bh1", **ends[1]},
        {"disable_corrector": [0, 2, 3]}, {"sigma_min": 0.05, "sigma_max": 12.0, "use_karras_sigmas": True},
    )  # fmt: skip
    yield from _each("unipc", (7, 20), ends + unipc, timestep_spacing=spacing)
    orders = tuple({"solver_order": n, **keys} for n in (1, 2, 3) for keys in ({}, {"lower_order_final": False}))
    for name in with_keys("solver_order", without="final_sigmas_type"):
        yield from _each(name, (7, 20), orders, timestep_spacing=spacing)


def _own_keys() -> Iterator[SchedulerCase]:
    """Folders whose scheduler is not a row of the table unchanged."""
    low = {"final_sigmas_type": "sigma_min"}
    for class_name in ("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"):
        for order, solver in product((1, 2, 3), ("midpoint", "heun")):
            keys = {"solver_order": order, "solver_type": solver}
            variants = tuple({"algorithm_type": algorithm, **keys, **low} for algorithm in (
                "dpmsolver++", "dpmsolver", "sde-dpmsolver++"))  # fmt: skip
            yield from _own(class_name, (4, 6, 7, 8, 20), variants + ({**keys}, {**keys, "lower_order_final": True}))
            yield from _own(class_name, (6, 7), ({**keys, **low, "lower_order_final": True, "use_karras_sigmas": True},))
            if order < 3 and class_name == "DPMSolverMultistepScheduler":
                yield from _own(class_name, (7, 20), ({"algorithm_type": "sde-dpmsolver", **keys, **low},))
        for prediction in PREDICTIONS:
            yield from _own(class_name, (7,), ({"algorithm_type": "dpmsolver", "prediction_type": prediction, **low},))
        yield from _own(class_name, (7,), tuple({"solver_type": "bh2", **each, **low} for each in _FOREIGN))
        yield from _own(class_name, (7,), ({"algorithm_type": "sde-dpmsolver++", "solver_order": 3},))
    yield from _own("UniPCMultistepScheduler", (7,), ({"solver_type": "midpoint"}, {}))
    for class_name in _ORDER_ALONE:
        yield from _own(class_name, (7,), ({"solver_type": "midpoint", "algorithm_type": "dpmsolver++"}, {}))
    yield from _own("PNDMScheduler", (4, 7), ({}, {"skip_prk_steps": True}))
    for prediction in PREDICTIONS[:2]:
        yield from _own("PNDMScheduler", (5,), ({"prediction_type": prediction, "timestep_spacing": "trailing"},))


def _flows(steps: tuple[int, ...]) -> Iterator[SchedulerCase]:
    """Models that predict a flow: the classes that are for them alone, and the flow side of the solvers' classes."""
    for name in FLOW_SCHEDULERS:
        yield from _flow_class(name, steps)
        yield from _flow_ranges(name, {"shift": 3.0})
    for name in with_keys("use_flow_sigmas"):
        yield from _flow_solver(name, steps)
    for name in SCHEDULERS:
        if has(name, "use_flow_sigmas"):
            yield from _flow_ranges(name, {**FLOW_SIDE, "flow_shift": 3.0})
            yield SchedulerCase(name, 20, {**FLOW_SIDE, "flow_shift": 3.0})


def _flow_ranges(name: str, config: dict[str, Any]) -> Iterator[SchedulerCase]:
    size, unit = entries(name, 6), calls_a_step(name)
    for part in ((0, size // 2), (unit, size), (2 * unit, size), (3 * unit, size - 1)):
        yield SchedulerCase(name, 6, config, part=part)


# Mu of a square picture of 512 pixels a side, of one of 1024, and of one beyond the last; Qwen-Image's and others' keys.
_SIZES: tuple[tuple[int, dict[str, Any]], ...] = (
    (1024, {}), (4096, {}), (6000, {}), (1024, {"base_shift": 0.3, "max_shift": 0.9, "max_image_seq_len": 8192}),
    (300, {"base_image_seq_len": 100}),
)  # fmt: skip


def _empirical_shifts() -> Iterator[SchedulerCase]:
    """Of small pictures, of the largest whose mu knows the steps, and beyond it."""
    for name in (name for name in FLOW_SCHEDULERS if has(name, "use_dynamic_shifting")):
        for tokens, steps in product((12, 1024, 4300, 4301), (1, 4, 50)):
            if steps > 1 or not has(name, "scale_factors"):
                dynamic = {"use_dynamic_shifting": True, "shift": 3.0}
                yield SchedulerCase(name, steps, dynamic, tokens=tokens, even_sigmas=True, empirical=True)


def _flow_class(name: str, steps: tuple[int, ...]) -> Iterator[SchedulerCase]:
    shifts: list[dict[str, Any]] = [{}, {"shift": 3.0}, {"shift": 0.4}, {"num_train_timesteps": 600, "shift": 1.7}]
    for config, count in product(shifts, steps):
        yield SchedulerCase(name, count, config)
    if not has(name, "use_dynamic_shifting"):
        return
    dynamic: dict[str, Any] = {"use_dynamic_shifting": True, "shift": 3.0}
    kinds = [{}, *(sigma_keys(each) for each in sigma_schedules(name)[1:])]
    more: list[dict[str, Any]] = [{}, {"shift_terminal": 0.02}]
    if has(name, "stochastic_sampling"):
        more += [{"stochastic_sampling": True}]
    for even, kind, keys in product((False, True), kinds, more):
        for count in (2, 7):
            yield SchedulerCase(name, count, {"shift": 3.0, **kind, **keys}, even_sigmas=even)
            yield SchedulerCase(name, count, {**dynamic, **kind, **keys}, tokens=1024, even_sigmas=even)
        for way in ("exponential", "linear"):
            for tokens, sizes in _SIZES:
                if kind == kinds[0] and keys == more[0]:
                    yield SchedulerCase(name, 5, {**dynamic, "time_shift_type": way, **sizes}, tokens=tokens, even_sigmas=even)
    if not has(name, "stochastic_sampling"):
        return  # its noise is another's where sigmas are inverted
    for keys in ({"shift": 3.0}, {"shift_terminal": 0.1}, {"use_karras_sigmas": True}):
        yield SchedulerCase(name, 7, {"invert_sigmas": True, **keys})
        yield SchedulerCase(name, 7, {"invert_sigmas": True, **keys}, even_sigmas=True)


def _flow_solver(name: str, steps: tuple[int, ...]) -> Iterator[SchedulerCase]:
    def case(count: int, keys: Mapping[str, Any], **more: Any) -> SchedulerCase:
        return SchedulerCase(name, count, {**FLOW_SIDE, **keys}, **more)

    for shift, count in product((1.0, 3.0, 0.4), steps):
        yield case(count, {"flow_shift": shift})
    yield case(7, {"num_train_timesteps": 600, "flow_shift": 2.0})
    for tokens, sizes in _SIZES:
        yield case(7, {"use_dynamic_shifting": True, "flow_shift": 2.0, **sizes}, tokens=tokens)
    keys: list[dict[str, Any]] = [{"lower_order_final": False}, {"thresholding": True, "sample_max_value": 1.5}]
    if has(name, "final_sigmas_type"):
        keys += [{"final_sigmas_type": "sigma_min"}, {"final_sigmas_type": "sigma_min", "lower_order_final": False}]
        keys += [{"final_sigmas_type": "sigma_min", "beta_end": 0.012, "beta_schedule": "scaled_linear"}]
    if has(name, "euler_at_final"):
        keys += [{"final_sigmas_type": "sigma_min", "euler_at_final": True}]
    if has(name, "variance_type"):
        keys += [{"solver_type": "heun"}, {"timestep_spacing": "trailing", "lambda_min_clipped": -5.1}]
    if has(name, "predict_x0"):
        keys += [{"solver_type": "bh1"}, {"disable_corrector": [0, 2, 3]}, {"shift_terminal": 0.1, "flow_shift": 3.0}]
        karras = {"use_karras_sigmas": True, **LATENT_DIFFUSION}
        keys += [karras, {**karras, "final_sigmas_type": "sigma_min"}, {**karras, "sigma_min": 0.05, "sigma_max": 12.0}]
        linear = {"use_dynamic_shifting": True, "time_shift_type": "linear"}
        yield case(7, linear, tokens=1024)
        yield case(7, {**linear, "shift_terminal": 0.02}, tokens=4096)
    for each, count in product(keys, (7, 20)):
        yield case(count, each)
    class_name = SCHEDULERS[name][0]
    own = tuple({**FLOW_SIDE, "solver_order": order, "flow_shift": 2.0} for order in (1, 2, 3))
    if class_has(class_name, "variance_type"):
        own += tuple({**each, "algorithm_type": "sde-dpmsolver++"} for each in own)
        own += tuple({**each, "solver_type": "heun", "final_sigmas_type": "sigma_min"} for each in own)
    for config, count in product(own, (6, 7, 20)):
        yield SchedulerCase(None, count, config, class_name=class_name)


def _flow_refused() -> Iterator[SchedulerCase]:
    for name in FLOW_SCHEDULERS:
        if has(name, "use_dynamic_shifting"):
            yield SchedulerCase(name, 5, {"use_karras_sigmas": True, "use_beta_sigmas": True})
            yield SchedulerCase(name, 5, {"time_shift_type": "cubic"})
            yield SchedulerCase(name, 1, {"shift_terminal": 0.02})
    for name in with_keys("use_flow_sigmas"):
        dynamic = {**FLOW_SIDE, "use_dynamic_shifting": True, "time_shift_type": "linear"}
        if not has(name, "predict_x0"):
            yield SchedulerCase(name, 5, dynamic, tokens=1024)
        if has(name, "variance_type"):
            low = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}
            yield SchedulerCase(None, 5, {**FLOW_SIDE, **low}, class_name=SCHEDULERS[name][0])
    yield SchedulerCase(None, 5, {**FLOW_SIDE, "predict_x0": False}, class_name="UniPCMultistepScheduler")
    # The first timestep comes twice, and diffusers loses its place.
    yield SchedulerCase("dpm++2m", 400, {**FLOW_SIDE, "flow_shift": 10.0})
    yield SchedulerCase("unipc", 400, {**FLOW_SIDE, "flow_shift": 10.0})


def refused_cases() -> Iterator[SchedulerCase]:
    """What diffusers refuses, or ends with an exception."""
    yield from _flow_refused()
    for name in SCHEDULERS:
        if predictions(name) == PREDICTIONS[:2]:
            yield SchedulerCase(name, 5, _base(name, prediction_type="sample"))
        if len(sigma_schedules(name)) > 1:
            yield SchedulerCase(name, 5, _base(name) | {"use_karras_sigmas": True, "use_beta_sigmas": True})
        yield SchedulerCase(name, 5, _base(name, beta_schedule="quadratic"))
    for name in with_keys("thresholding", "clip_sample"):
        yield SchedulerCase(name, 1001, _base(name))
    for name in filter(distilled, SCHEDULERS):
        yield SchedulerCase(name, 51, _base(name))
        yield SchedulerCase(name, 5, _base(name, original_inference_steps=1001))
    for class_name in ("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"):
        wrong = ({"algorithm_type": "dpmsolver"}, {"algorithm_type": "ddim"}, {"solver_type": "euler"}, *_FOREIGN)
        yield from _own(class_name, (5,), wrong)
    sde = {"algorithm_type": "sde-dpmsolver", "final_sigmas_type": "sigma_min", "solver_order": 3}
    yield from _own("DPMSolverMultistepScheduler", (7,), (sde,))
    yield from _own("DPMSolverSinglestepScheduler", (7,), ({"solver_order": 4}, {**sde, "solver_order": 2}))
    for class_name in _ORDER_ALONE:
        yield from _own(class_name, (5,), ({"solver_type": "rk4"}, {"algorithm_type": "sde-dpmsolver++"}))
    yield from _own("UniPCMultistepScheduler", (5,), ({"solver_type": "rk4"}, {"shift_terminal": 0.1}))
    yield from _own("EulerDiscreteScheduler", (5,), ({"final_sigmas_type": "one"}, {"interpolation_type": "cubic"}))
    # The first timestep comes twice, and diffusers loses its place.
    yield SchedulerCase("dpm++2m", 50, _base("dpm++2m", use_beta_sigmas=True))
    yield SchedulerCase("unipc", 50, _base("unipc", use_karras_sigmas=True, rescale_betas_zero_snr=True))
