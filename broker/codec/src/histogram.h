/* Codes histograms: `broker/counts.py` in C, the same to the bit. */
#ifndef FIELDLOOP_HISTOGRAM_H
#define FIELDLOOP_HISTOGRAM_H

#include "stream.h"

/* Code `n_bins` counts of a known total. `counts` is read, or filled when reading; `before` has as many, or is NULL. */
void code_histogram(coder *c, enum histogram_name name, uint64_t total, uint32_t *counts, uint32_t n_bins,
                    const uint32_t *before);

#endif
