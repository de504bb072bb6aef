/* The engine's public face: opens a model table, scores rows with it. docs/native-format.md is the table's format.
 *
 * A table is data, never code, and comes from outside: `fl_open` refuses every file that is not what the format says.
 * All memory of a model is one block, asked for once, after its size is known and found bearable; scoring asks for none.
 */
#ifndef FIELDLOOP_ENGINE_H
#define FIELDLOOP_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define FL_PUBLIC __attribute__((visibility("default")))
#else
#define FL_PUBLIC
#endif

/* Of this face: a caller that was written for another one must not go on. */
#define FL_INTERFACE 1u

/* Flags of `fl_open`: use nothing that not every processor of this architecture has. */
#define FL_PORTABLE 1u

typedef struct fl_model fl_model;

/* Why a table was refused. */
typedef enum {
    FL_OK = 0,
    FL_NO_TABLE,      /* it does not begin as a table does */
    FL_OTHER_VERSION, /* of a version that this engine does not know */
    FL_WRONG_LENGTH,  /* longer or shorter than it says */
    FL_DAMAGED,       /* its checksum is another one */
    FL_UNKNOWN,       /* an operation that this engine does not know */
    FL_BAD_SOURCE,    /* an operation takes a vector that does not stand before it */
    FL_BAD_SHAPE,     /* parts of an operation do not fit each other */
    FL_BAD_NUMBER,    /* a number that is none, or infinite, or out of its range */
    FL_BAD_ORDER,     /* numbers that must ascend do not */
    FL_BAD_TREE,      /* a tree without an end, or with places outside of the table */
    FL_TOO_LARGE,     /* it would take more memory, or more work a row, than any device should give */
    FL_NO_MEMORY      /* this device has not the memory now */
} fl_status;

/* Where and why a table was refused; `operation` counts from 0. */
typedef struct {
    uint32_t status;
    uint32_t operation;
} fl_refusal;

FL_PUBLIC uint32_t fl_interface(void);

/* Open the table of `size` bytes; they are not needed afterwards. NULL: refused, and `refusal` says why. */
FL_PUBLIC fl_model *fl_open(const void *table, size_t size, uint32_t flags, fl_refusal *refusal);
FL_PUBLIC void fl_close(fl_model *model);

/* Say in words why a table was refused. */
FL_PUBLIC const char *fl_reason(uint32_t status);

FL_PUBLIC uint32_t fl_n_features(const fl_model *model);
FL_PUBLIC uint32_t fl_n_outputs(const fl_model *model);
/* Bytes of the model's one block of memory. */
FL_PUBLIC uint64_t fl_memory(const fl_model *model);
/* How the trees of an operation are walked, as a word; an empty one for other operations. */
FL_PUBLIC const char *fl_layout(const fl_model *model, uint32_t operation);
FL_PUBLIC uint32_t fl_n_operations(const fl_model *model);

/* Score `n_rows` rows, (n_rows, n_features) float32, into (n_rows, n_outputs) float32, which need not be aligned and
 * may not overlap. A model is used by one thread at a time. */
FL_PUBLIC void fl_score(fl_model *model, size_t n_rows, const void *rows, void *answers);

#endif
