"""The engine of native model tables: C sources (``src``), their compilation, and two ways to call them from Python.

A table is data: the engine reads it, and nothing in it is ever executed. The engine needs the C library, and no Python
package; numpy neither. ``lib/<architecture>/`` holds the compiled engine: one file that is both an extension module and
a library for ctypes.
"""
