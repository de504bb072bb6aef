"""Emulated boards: an image of a card starts under QEMU, with the kernel, initrd and device tree that it carries.

Nothing here needs root: the boot partition is read by mtools, and the network is QEMU's own, in which the guest reaches
this machine as 10.0.2.2. The image is never written to unless that is asked for: what a guest writes goes into an
overlay. Times under emulation say nothing about a board.
"""
