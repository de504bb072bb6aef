"""A finished card in an emulated board, from its first start on: qemu-system, real kernel, real systemd, real agent."""
