"""Cases of the released families and of the forms in which their weights are found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .original_layout import FORMS, UNET_FILES
from .parity_case import ParityCase
from .pictures import PictureRequest
from .schedulers import SCHEDULERS
from .taesd import FILES as TAESD_FILES

SHORT = PictureRequest(steps=3, width=64, height=64)
EXCLAIMED = "a fox! wow!! 100%! no!\u00a0yes!"  # "!" is SDXL's second pad token, so no ordinary word there
LONG = "a very long prompt about " + ", ".join(f"{n} red foxes and {n} blue birds" for n in range(30))


def family_cases() -> Iterator[ParityCase]:
    yield from _sd()
    yield from _sdxl()
    yield from _xl_conditioning()
    yield from _refiner()
    yield from _cut_and_distilled()
    yield from _unets()
    yield from _vaes()
    yield from _tiny_autoencoders()
    yield from _single_files()


def _sd() -> Iterator[ParityCase]:
    for model in ("sd15", "sd21", "sd21-base", "sd15-old"):
        yield ParityCase("own", model, PictureRequest(seed=1, steps=4))
        yield ParityCase("clip-skip-1", model, PictureRequest(seed=2, steps=2, clip_skip=1, negative_prompt="a dog"))
    for model in ("sd15", "sd21"):
        yield ParityCase("clip-skip-2", model, PictureRequest(seed=2, steps=2, clip_skip=2))
        yield ParityCase("clip-skip-0", model, PictureRequest(seed=2, steps=2, clip_skip=0))
        yield ParityCase("prompt-long", model, replace(SHORT, prompt=LONG))
        yield ParityCase("prompt-exclaimed", model, replace(SHORT, prompt=EXCLAIMED, negative_prompt="bad!"))
        yield ParityCase("guidance-1", model, replace(SHORT, guidance_scale=1.0))
        yield ParityCase("size-72x40", model, replace(SHORT, width=72, height=40))
        yield ParityCase("batch", model, replace(SHORT, seed=5, width=48, height=32), images=3, batch_size=2)
    for name in SCHEDULERS:
        short = replace(SHORT, scheduler=name, seed=3, steps=4 if name == "pndm" else SHORT.steps)  # it needs 4
        yield ParityCase(f"scheduler-{name}", "sd21", short)
    yield ParityCase("prediction-epsilon", "sd21", replace(SHORT, prediction_type="epsilon"))
    yield ParityCase("defaults", "sd15", PictureRequest(steps=None, guidance_scale=None, seed=5))


def _sdxl() -> Iterator[ParityCase]:
    for model in ("sdxl", "sdxl-small", "sdxl-fp16", "sdxl-sharded", "sdxl-v"):
        yield ParityCase("own", model, PictureRequest(seed=1, steps=4))
        yield ParityCase("negative", model, PictureRequest(seed=2, steps=3, negative_prompt="a blue bird"))
        yield ParityCase("negative-empty", model, PictureRequest(seed=2, steps=3, negative_prompt=""))
    for name in SCHEDULERS:
        short = replace(SHORT, scheduler=name, seed=3, steps=4 if name == "pndm" else SHORT.steps)
        yield ParityCase(f"scheduler-{name}", "sdxl", short)
        yield ParityCase(f"scheduler-{name}", "sdxl-v", PictureRequest(seed=3, steps=4, scheduler=name))
    for spacing in ("linspace", "trailing"):
        yield ParityCase(f"spacing-{spacing}", "sdxl", replace(SHORT, timestep_spacing=spacing))
    for name, prompt in (("empty", ""), ("long", LONG), ("exclaimed", EXCLAIMED), ("unicode", "Ein Haus, 一只红苹果 🦊")):
        yield ParityCase(f"prompt-{name}", "sdxl", replace(SHORT, prompt=prompt, steps=2))
        yield ParityCase(f"prompt-{name}", "sdxl-small", PictureRequest(prompt=prompt, steps=2))
    yield ParityCase("negative-exclaimed", "sdxl", replace(SHORT, negative_prompt=EXCLAIMED, steps=2))
    for scale in (0.0, 1.0, 1.01):
        yield ParityCase(f"guidance-{scale}", "sdxl", replace(SHORT, guidance_scale=scale))
    yield ParityCase("defaults", "sdxl-small", PictureRequest(steps=None, guidance_scale=None, seed=5))
    yield ParityCase("defaults", "sdxl", PictureRequest(steps=8, guidance_scale=None, seed=5))
    yield ParityCase("eta", "sdxl", replace(SHORT, scheduler="ddim", eta=0.7))
    yield ParityCase("size-72x40", "sdxl", replace(SHORT, width=72, height=40))
    for images, batch in ((3, 1), (3, 2), (2, 8)):
        request = PictureRequest(seed=11, steps=3, scheduler="ddpm", crop=(8, 4))
        yield ParityCase(f"batch-{images}-{batch}", "sdxl-small", request, images, batch)
    yield ParityCase("batch", "sdxl", replace(SHORT, width=48, height=32), images=3, batch_size=2)
    yield ParityCase("batch-negative", "sdxl", replace(SHORT, negative_prompt="rain", steps=2), images=2, batch_size=2)


def _xl_conditioning() -> Iterator[ParityCase]:
    sizes = {
        "original-size": {"original_size": (512, 96)}, "crop": {"crop": (24, 8)}, "target-size": {"target_size": (40, 1024)},
        "all-sizes": {"original_size": (100, 200), "crop": (300, 7), "target_size": (31, 17)},
    }  # fmt: skip
    for name, options in sizes.items():
        yield ParityCase(name, "sdxl", replace(SHORT, **options))
        yield ParityCase(name, "sdxl-small", PictureRequest(steps=3, width=48, height=32, **options))
    for skip in (0, 1, 2):
        yield ParityCase(f"clip-skip-{skip}", "sdxl", replace(SHORT, clip_skip=skip, negative_prompt="a dog", steps=2))
    yield ParityCase("prompt-2", "sdxl", replace(SHORT, prompt_2="a blue bird", steps=2))
    yield ParityCase("negative-2", "sdxl", replace(SHORT, negative_prompt="a dog", negative_prompt_2="rain", steps=2))


def _refiner() -> Iterator[ParityCase]:
    pair = replace(SHORT, refiner="refiner", steps=4)
    yield ParityCase("refined", "sdxl", pair)
    yield ParityCase("refined-defaults", "sdxl", PictureRequest(refiner="refiner", steps=6, guidance_scale=None, seed=9))
    for start in (0.1, 0.5, 0.67, 0.95):
        yield ParityCase(f"refined-{start}", "sdxl", replace(pair, refiner_start=start, steps=5))
    small = PictureRequest(refiner="refiner-small", refiner_start=0.7, seed=4)
    # Not plms: in a refiner diffusers' PNDM takes the second call for the repeated one of its beginning.
    for name in ("ddpm", "ddim", "euler", "dpm++2m"):
        yield ParityCase(f"refined-{name}", "sdxl", replace(pair, scheduler=name, refiner_start=0.6, steps=6, seed=4))
        for steps in (5, 20):
            request = replace(small, scheduler=name, steps=steps)
            yield ParityCase(f"refined-{name}-{steps}", "sdxl-small", request)
    sized = replace(pair, original_size=(96, 48), crop=(8, 24), target_size=(72, 40), refiner_start=0.5)
    yield ParityCase("refined-sizes", "sdxl", sized)
    yield ParityCase("refined-negative", "sdxl", replace(pair, negative_prompt="a blue bird", refiner_start=0.5))
    yield ParityCase("refined-negative-empty", "sdxl", replace(pair, negative_prompt="", refiner_start=0.5))
    yield ParityCase("refined-guidance-1", "sdxl", replace(pair, guidance_scale=1.0, refiner_start=0.5))
    yield ParityCase("refined-eta", "sdxl", replace(pair, scheduler="ddim", eta=0.8, refiner_start=0.5))
    yield ParityCase("refined-spacing", "sdxl", replace(pair, timestep_spacing="trailing", refiner_start=0.5))
    yield ParityCase("refined-prompt-2", "sdxl", replace(pair, prompt_2="a blue bird", refiner_start=0.5))
    yield ParityCase("refined-clip-skip", "sdxl", replace(pair, clip_skip=1, refiner_start=0.5))
    request = replace(pair, scheduler="ddpm", width=48, height=32, refiner_start=0.5)
    yield ParityCase("refined-batch", "sdxl", request, images=3, batch_size=2)
    yield ParityCase("refined-vae", "sdxl", replace(pair, vae="sdxl-v@vae-folder"))
    for form in FORMS["refiner"]:
        both = replace(pair, refiner=f"refiner@{form.name}", refiner_start=0.5)
        yield ParityCase(f"refined-{form.name}", "sdxl", both, form="original")
    yield ParityCase("refined-mixed-layouts", "sdxl", replace(pair, refiner="refiner@original"))


def _cut_and_distilled() -> Iterator[ParityCase]:
    for model in ("ssd1b", "koala"):
        yield ParityCase("own", model, PictureRequest(seed=1, steps=4))
        yield ParityCase("negative", model, PictureRequest(seed=2, steps=3, negative_prompt="a blue bird"))
    yield ParityCase("size-40x24", "koala", PictureRequest(seed=2, steps=3, width=40, height=24))
    for name, steps, scale in (("one-step", 1, 0.0), ("four-steps", 4, 0.0), ("guided", 3, 2.0)):
        request = PictureRequest(steps=steps, guidance_scale=scale, seed=4)
        yield ParityCase(f"own-{name}", "turbo", request, needs="euler-a")
        yield ParityCase(f"euler-{name}", "turbo", replace(request, scheduler="euler"))
    for model in ("lcm", "lcm-sdxl"):  # the guidance scale is an input; there is no second half of the batch
        for scale in (1.0, 1.5, 8.5):
            request = PictureRequest(steps=4, guidance_scale=scale, seed=4, negative_prompt="rain")
            yield ParityCase(f"own-{scale}", model, request, needs="lcm")
            yield ParityCase(f"ddim-{scale}", model, replace(request, scheduler="ddim"))
        yield ParityCase("defaults", model, PictureRequest(steps=4, guidance_scale=None, scheduler="ddim"))
        request = PictureRequest(steps=3, guidance_scale=4.0, scheduler="ddim")
        yield ParityCase("batch", model, request, images=3, batch_size=2)


def _unets() -> Iterator[ParityCase]:
    """Networks that were published alone, beside a base of other weights."""
    for form in ("unet-folder", *UNET_FILES):
        yield ParityCase(f"unet-{form.removeprefix('unet-')}", "sdxl", replace(SHORT, unet=f"sdxl-v@{form}"))
    for model, other in (("sd21", "sd21-base"), ("sdxl", "ssd1b")):
        for form in UNET_FILES:
            yield ParityCase(f"unet-of-{other}-{form.removeprefix('unet-')}", model, replace(SHORT, unet=f"{other}@{form}"))
    yield ParityCase("unet-of-model", "sdxl", replace(SHORT, unet="sdxl-v"))
    yield ParityCase("unet-of-checkpoint", "sdxl", replace(SHORT, unet="ssd1b@original"))
    yield ParityCase("unet-beside-file", "sdxl", replace(SHORT, unet="ssd1b@unet-diffusers"), form="original")
    # Whose scheduler, steps and guidance scale are those of its kind.
    distilled = replace(SHORT, steps=None, guidance_scale=None, seed=6)
    for form in UNET_FILES:
        request = replace(distilled, unet=f"lcm-full@{form}")
        yield ParityCase(f"unet-lcm-{form.removeprefix('unet-')}", "sd15", request, needs="lcm")


def _vaes() -> Iterator[ParityCase]:
    for model, other in (("sd15", "sd21@vae-folder"), ("sdxl", "sdxl-v@vae-folder"), ("sdxl", "sdxl@vae")):
        yield ParityCase(f"vae-{other.replace('@', '-')}", model, replace(SHORT, vae=other))
    for form in FORMS["sd15"]:
        if form.parts == "vae":
            yield ParityCase(f"{form.name}", "sd21", replace(SHORT, vae=f"sd15@{form.name}"))
    for name in ("text_encoder", "text_encoder_2"):  # of other weights
        yield ParityCase(f"other-{name}", "sdxl", replace(SHORT, text_encoder=(f"sdxl-v@{name}-folder",)))
    both = ("sdxl-v@text_encoder_2-folder", "sdxl-v@text_encoder-folder")
    yield ParityCase("other-texts", "sdxl", replace(SHORT, text_encoder=both), form="original")
    yield ParityCase("other-text", "sd15", replace(SHORT, text_encoder=("lcm-full@text_encoder-folder",)))
    yield ParityCase("vae-both-files", "sd21", replace(SHORT, vae="sd15@vae"), form="original")
    yield ParityCase("vae-xl-files", "sdxl-v", replace(SHORT, vae="sdxl@vae"), form="original")


def _tiny_autoencoders() -> Iterator[ParityCase]:
    photo = PictureRequest(steps=4, init_image="photo-24x24", strength=0.6, scheduler="euler-a")
    yield ParityCase("own", "taesd", PictureRequest(steps=4, seed=3))
    yield ParityCase("image", "taesd", photo)
    yield ParityCase("image-batch", "taesd", photo, images=3, batch_size=2)
    for form in ("vae-folder", *TAESD_FILES):
        yield ParityCase(f"vae-{form}", "sd1", PictureRequest(steps=3, vae=f"taesd@{form}"))
    yield ParityCase("image-taesd", "sd1", replace(photo, vae="taesd@taesd-both"))


def _single_files() -> Iterator[ParityCase]:
    for model, forms in FORMS.items():
        if model in ("refiner", "inpaint", "depth"):  # they need a picture: image_cases.py, inpaint_cases.py
            continue
        if model == "lcm-full":  # whose scheduler, steps and guidance scale are those of its kind
            request = replace(SHORT, steps=None, guidance_scale=None, seed=6)
            yield ParityCase("own-defaults", model, request, form="original", needs="lcm")
            continue
        # A file of SD 2 means v_prediction unless the command line says otherwise.
        told = {"prediction_type": "epsilon"} if model == "sd21-epsilon" else {}
        for form in forms:
            if form.parts == "vae":
                continue
            request = replace(SHORT, prompt=EXCLAIMED, seed=6, **told)
            yield ParityCase("own", model, request, form=form.name)
        yield ParityCase("euler", model, replace(SHORT, scheduler="euler", steps=4, **told), form="original")
        yield ParityCase("negative", model, replace(SHORT, negative_prompt="", **told), form="original")
    for model in ("sd15", "sd21", "sdxl"):
        yield ParityCase("own", model, SHORT, form="original-sdcpp")
    yield ParityCase("clip-skip", "sd21", replace(SHORT, clip_skip=1), form="original")
    yield ParityCase("clip-skip", "sd15", replace(SHORT, clip_skip=1), form="no-text-model")
    yield ParityCase("crop", "sdxl", replace(SHORT, crop=(24, 8), original_size=(96, 48)), form="original")
    yield ParityCase("batch", "sdxl", replace(SHORT, width=48, height=32), images=3, batch_size=2, form="bfloat16")
    yield ParityCase("guidance-1", "ssd1b", replace(SHORT, guidance_scale=1.0), form="original")
