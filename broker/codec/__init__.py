"""The codec of packs in C, where it is built for this machine; Python does the same without it, to the bit."""
