/* Reads a table's bytes, within bounds, and lays its parts into one block of memory.
 *
 * A table is loaded twice by the same code: first without a block, when only sizes are added up, then into the block.
 * What was refused once stays refused: after the first complaint every read gives zeros, and loops end.
 */
#ifndef FIELDLOOP_TABLE_H
#define FIELDLOOP_TABLE_H

#include <stdbool.h>
#include <string.h>

#include "engine.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the engine reads little-endian tables on little-endian machines"
#endif

/* Limits that no honest model meets; what goes beyond is refused before memory is asked for. */
#define FL_MOST_MEMORY (UINT64_C(256) << 20)
#define FL_MOST_WORK (UINT64_C(1) << 30)
#define FL_MOST_WIDTH (UINT32_C(1) << 20)
#define FL_MOST_OPERATIONS UINT32_C(4096)

/* As wide as a line of the cache, and as any vector register. */
#define FL_ALIGNMENT 64u

typedef struct {
    const uint8_t *at, *end; /* of the part that is being read */
    uint8_t *block;          /* NULL while sizes are added up */
    uint64_t size;           /* of the block */
    uint64_t used;           /* of it, so far */
    uint64_t scratch;        /* bytes that an operation needs while it runs: of the neediest */
    uint64_t work;           /* bound of the steps that one row costs */
    uint32_t flags;
    fl_status status;
} fl_load;

typedef enum { FL_ANY_NUMBER, FL_NO_NAN, FL_FINITE } fl_numbers;

void fl_refuse(fl_load *load, fl_status why);

/* Take room for `count` parts of `size` bytes; NULL while sizes are added up. */
void *fl_take(fl_load *load, uint64_t count, uint64_t size);
void fl_need_scratch(fl_load *load, uint64_t size);
void fl_add_work(fl_load *load, uint64_t steps);

/* Read on; past the end the table is refused and zeros come. */
const uint8_t *fl_read_bytes(fl_load *load, uint64_t size);
uint8_t fl_read_u8(fl_load *load);
uint32_t fl_read_u32(fl_load *load);
float fl_read_f32(fl_load *load); /* any number */
double fl_read_f64(fl_load *load, fl_numbers rule);

/* Read arrays into the block; NULL while sizes are added up. */
uint32_t *fl_read_u32s(fl_load *load, uint64_t count);
float *fl_read_f32s(fl_load *load, uint64_t count, fl_numbers rule);
double *fl_read_f64s(fl_load *load, uint64_t count, fl_numbers rule);

/* Read `n` counts, and lay them down as n + 1 places where each part begins. The sum comes back. */
uint64_t fl_read_starts(fl_load *load, uint32_t n, uint32_t **starts);

uint32_t fl_checksum(const uint8_t *bytes, size_t size);

#endif
