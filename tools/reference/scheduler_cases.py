"""Which scheduler trajectories the fixtures hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .pictures import SCHEDULERS

SPACINGS = ("leading", "linspace", "trailing")
PREDICTIONS = ("epsilon", "v_prediction", "sample")
LATENT_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
UNCLIPPED = {"ddpm", "ddim"}  # classes whose clip_sample is on unless the config says otherwise


@dataclass(frozen=True)
class SchedulerCase:
    scheduler: str  # sdgen's name
    steps: int
    config: Mapping[str, Any] = field(default_factory=dict)  # what scheduler_config.json would say
    eta: float | None = None

    @property
    def class_name(self) -> str:
        return SCHEDULERS[self.scheduler][0]

    def constructor_options(self) -> dict[str, Any]:
        return {**self.config, **SCHEDULERS[self.scheduler][1]}


def scheduler_cases() -> Iterator[SchedulerCase]:
    yield from _grid()
    yield from _betas()
    yield from _ddim_ddpm_keys()
    yield from _plms_keys()
    yield from _euler_keys()
    yield from _dpm_keys()


def _base(name: str, **more: Any) -> dict[str, Any]:
    clip = {"clip_sample": False} if name in UNCLIPPED else {}
    return {**LATENT_DIFFUSION, **clip, **more}


def _grid() -> Iterator[SchedulerCase]:
    """Every scheduler x spacing x prediction type that the class has, at few, odd and many steps."""
    for name in SCHEDULERS:
        for spacing in SPACINGS:
            for prediction in PREDICTIONS:
                if name == "plms" and prediction == "sample":
                    continue
                config = _base(name, timestep_spacing=spacing, prediction_type=prediction)
                counts = (1, 2, 7, 25, 50) if prediction == "epsilon" else (1, 7, 25)
                for steps in counts:
                    for eta in (None, 0.5, 1.0) if name == "ddim" and steps != 50 else (None,):
                        yield SchedulerCase(name, steps, config, eta)
            for steps in (3, 4, 13, 30, 61, 999):  # 61 x trailing: np.arange gives a 62nd timestep, -1
                if steps != 999 or name == "ddim":
                    yield SchedulerCase(name, steps, _base(name, timestep_spacing=spacing))


def _betas() -> Iterator[SchedulerCase]:
    trained = [1e-4 + 3e-4 * (i / 99) ** 2 * 100 for i in range(100)]
    for name in SCHEDULERS:
        for schedule in ("linear", "squaredcos_cap_v2"):
            for prediction in ("epsilon", "v_prediction"):
                config = _base(name, beta_schedule=schedule, prediction_type=prediction, timestep_spacing="leading")
                yield SchedulerCase(name, 7, config)
        config = _base(name, trained_betas=trained, num_train_timesteps=100, timestep_spacing="leading")
        yield SchedulerCase(name, 7, config)
        yield SchedulerCase(name, 7, {"clip_sample": False} if name in UNCLIPPED else {})  # nothing but defaults
        yield SchedulerCase(name, 7, _base(name, num_train_timesteps=600, timestep_spacing="linspace"))
        for offset in (0, 2, 5):
            yield SchedulerCase(name, 7, {**_base(name, timestep_spacing="leading"), "steps_offset": offset})
    for name in ("ddpm", "ddim", "euler", "dpm++2m"):
        for spacing in ("trailing", "linspace", "leading"):
            for prediction in ("v_prediction", "sample", "epsilon"):
                if prediction == "epsilon" and name in ("ddpm", "ddim"):
                    continue  # alpha is 0 at the first node: x0 of epsilon is infinite
                config = _base(name, rescale_betas_zero_snr=True, timestep_spacing=spacing, prediction_type=prediction)
                yield SchedulerCase(name, 7, config)


def _ddim_ddpm_keys() -> Iterator[SchedulerCase]:
    for name in ("ddim", "ddpm"):
        for prediction in PREDICTIONS:
            for keys in (
                {"clip_sample": True},
                {"clip_sample": True, "clip_sample_range": 2.5},
                {"thresholding": True, "sample_max_value": 1.5, "dynamic_thresholding_ratio": 0.9},
                {"thresholding": True, "sample_max_value": 100.0, "dynamic_thresholding_ratio": 0.83},
                {"thresholding": True, "clip_sample": True},
            ):
                config = _base(name, prediction_type=prediction, timestep_spacing="leading") | keys
                yield SchedulerCase(name, 7, config, 0.5 if name == "ddim" else None)
    for to_one in (False, True):
        for spacing in SPACINGS:
            yield SchedulerCase("ddim", 7, _base("ddim", set_alpha_to_one=to_one, timestep_spacing=spacing), 1.0)
    for variance in ("fixed_small", "fixed_small_log", "fixed_large"):
        for spacing in SPACINGS:
            yield SchedulerCase("ddpm", 7, _base("ddpm", variance_type=variance, timestep_spacing=spacing))


def _plms_keys() -> Iterator[SchedulerCase]:
    for to_one in (False, True):
        for spacing in SPACINGS:
            for steps in (1, 2, 3, 7):
                yield SchedulerCase("plms", steps, _base("plms", set_alpha_to_one=to_one, timestep_spacing=spacing))


def _euler_keys() -> Iterator[SchedulerCase]:
    for final in ("zero", "sigma_min"):
        for spacing in SPACINGS:
            yield SchedulerCase("euler", 7, _base("euler", final_sigmas_type=final, timestep_spacing=spacing))
    for interpolation in ("linear", "log_linear"):
        for spacing in SPACINGS:
            config = _base("euler", interpolation_type=interpolation, timestep_spacing=spacing)
            yield SchedulerCase("euler", 13, config)


def _dpm_keys() -> Iterator[SchedulerCase]:
    for keys in (
        {"final_sigmas_type": "sigma_min"},
        {"final_sigmas_type": "sigma_min", "lower_order_final": False},
        {"final_sigmas_type": "sigma_min", "lower_order_final": False, "euler_at_final": True},
        {"lower_order_final": False},
        {"solver_type": "heun"},
        {"solver_type": "heun", "final_sigmas_type": "sigma_min"},
        {"thresholding": True, "sample_max_value": 1.5, "dynamic_thresholding_ratio": 0.9},
        {"use_lu_lambdas": True},
        {"use_karras_sigmas": True},
        {"lambda_min_clipped": -5.1, "beta_schedule": "squaredcos_cap_v2"},
    ):
        for spacing in SPACINGS:
            for steps in (7, 20):
                yield SchedulerCase("dpm++2m", steps, _base("dpm++2m", timestep_spacing=spacing) | keys)
