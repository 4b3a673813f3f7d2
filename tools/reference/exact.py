"""How sdgen draws in int8 what diffusers can be asked for."""

# Before a command, as on a processor without products of int8: tokens and pixels are not rounded there, so that the codes
# alone make the picture.
EXACT = ("env", "ONEDNN_MAX_CPU_ISA=AVX2")
