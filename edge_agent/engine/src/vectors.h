/* Whether this processor has the vectors that walk_vector.c and rows_vector.c are written for. */
#ifndef FIELDLOOP_VECTORS_H
#define FIELDLOOP_VECTORS_H

#include <stdbool.h>

/* x86-64: AVX2, BMI, BMI2 and POPCNT, and a system that keeps them; aarch64: always. */
bool fl_has_vectors(void);

#endif
