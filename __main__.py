"""`python -m mmearth`: what `torchrun -m mmearth …` starts."""

from mmearth.cli import main

main()
