/* The even way to code a histogram, quickly where its numbers are small; `histogram.c` has it for all numbers. */
#ifndef FIELDLOOP_EVEN_H
#define FIELDLOOP_EVEN_H

#include "stream.h"

void even_open(void);
/* Read counts until one is unusual or the stream is nearly at its end; return how many, with what is left of `rest`. */
uint32_t read_even(coder *c, uint64_t *rest, uint32_t *counts, uint32_t n_bins);
/* Put the steps of these counts at `steps`, and add their bits to `spent`; false: one of them is unusual. */
bool steps_of_even(uint64_t total, const uint32_t *counts, uint32_t n_bins, step *steps, double *spent);

#endif
