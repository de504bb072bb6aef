/* A block of rows on their way through the agent: what is decided and counted for each of them, without Python.
 *
 * The rules are those of edge_agent/scoring and edge_agent/telemetry, which stay the portable way and the oracle of a
 * property test: second model, agreement, histograms, the latency sketch. Nothing here asks for memory.
 */
#ifndef FIELDLOOP_ROWS_H
#define FIELDLOOP_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Buckets of the latency sketch, as telemetry/sketches.py numbers them: of MIN_US, and how many up to MAX_US. */
#define FL_FIRST_BUCKET (-348)
#define FL_BUCKETS 1745u
#define FL_CONFIDENCE_BINS 10u

/* Arrays that are worked on some doubles at once are padded to a multiple of so many, whatever the processor; and the
 * most edges of a feature that are all compared instead of searched. */
#define FL_PADDING 4u
#define FL_MOST_COMPARED 32u

/* What became of a place of the block. */
typedef enum {
    FL_ROW_NONE,    /* refused, or not yet taken */
    FL_ROW_TAKEN,   /* encoded and checked */
    FL_ROW_SCORED,  /* the model answered */
    FL_ROW_COUNTED, /* its answer is finite, and in the counts */
} fl_row_state;

/* What is known of one scored row. */
typedef struct {
    double value, confidence, uncertainty, latency_us;
    uint32_t label, agreement;
    uint8_t state, agrees, has_missing, has_outside;
} fl_row;

typedef struct fl_rows fl_rows;

/* What is done with all numbers of a row: rows_lanes.h. */
typedef struct {
    /* Round numbers to float32; false: one of them is NaN, out of its range, or beyond what float32 holds. */
    bool (*check)(const double *values, const double *low, const double *high, float *singles, uint32_t n);
    /* Sums of slopes and values for two rows, without the intercepts. */
    void (*score_two)(const fl_rows *block, const double *one, const double *other, double *to_one, double *to_other);
    /* Count the features of a row without missing numbers; needs the grid. */
    void (*count)(const fl_rows *block, const double *values);
} fl_rows_ways;

/* rows_portable.c, rows_vector.c */
const fl_rows_ways *fl_rows_portable(void);
const fl_rows_ways *fl_rows_fastest(void);

/* What one bundle's rows are counted by; arrays belong to the caller. */
struct fl_rows {
    const fl_rows_ways *ways;
    uint32_t capacity, n_features, n_outputs, n_output_edges, n_disagreement_edges, n_agreement;
    bool is_classification;
    const uint32_t *starts;     /* (n_features + 1): where the edges of each feature begin */
    const double *edges;
    const double *output_edges, *disagreement_edges;
    const double *means;        /* (n_features) */
    const double *slopes;       /* (n_features, n_padded) of the second model, zeros beyond the outputs */
    const double *intercepts;   /* (n_outputs) */
    double *values;             /* (capacity, n_features), as they were checked */
    uint8_t *outside;           /* (capacity, n_features): 1 where a value was flagged as out of range */
    const float *answers;       /* (capacity, n_outputs) */
    fl_row *rows;               /* (capacity) */
    double *second;             /* (2, n_padded) */
    double *filled;             /* (2, n_features): rows whose missing numbers are the means */
    uint32_t n_padded;          /* n_outputs, up to a multiple of FL_PADDING */
    const double *grid;         /* (n_features, grid_width): edges, infinity beyond them; NULL: some have too many */
    uint32_t grid_width;        /* a multiple of FL_PADDING */
    uint64_t *counts;           /* n_counts: see fl_rows_counts */
    uint32_t *latencies;        /* (FL_BUCKETS) */
    uint32_t first_bucket, last_bucket; /* of those that are not empty; first > last: none is */
    double latency_us;          /* that was counted last: rows that are scored together have the same */
    uint32_t bucket;            /* of that */
};

/* How many counts a window has: by feature its bins and the missing, by feature those out of range, predictions,
 * agreement, in this order. */
size_t fl_rows_counts(const fl_rows *block);

/* Decide and count the first `n` rows, as far as they are scored; return how many had a finite answer. */
uint32_t fl_rows_settle(fl_rows *block, uint32_t n);

/* Forget all counts. */
void fl_rows_clear(fl_rows *block);

/* Read a plain decimal number as float() would, exactly; false: it is none that is read here, ask Python. */
bool fl_read_decimal(const char *text, size_t length, double *number);

#endif
