"""``python -m trainer.cli`` is ``fieldloop``."""

from trainer.cli.application import main

main()
