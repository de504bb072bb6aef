/* A telemetry window between its two forms: a MessagePack message of version 1, and its place in a pack. */
#ifndef FIELDLOOP_WINDOW_H
#define FIELDLOOP_WINDOW_H

#include "stream.h"

#define MOST_WINDOWS 16
#define MOST_TEXT 512
#define MOST_NAMES 32
#define MOST_FEATURES 4096
#define MOST_BINS 1024
#define MOST_SPAN 8193
#define MOST_PAIRS 2048
#define MOST_BUCKET 4096
#define MOST_COUNTS (1 << 14)
#define GREATEST_NUMBER ((int64_t)1 << 53)

typedef struct {
    uint32_t size;
    uint8_t bytes[MOST_TEXT];
} text;

typedef struct {
    uint32_t n;
    text names[MOST_NAMES];
    int64_t counts[MOST_NAMES];
} named_counts;

/* Counts in the pack's one store of them. */
typedef struct {
    uint32_t at, n;
} slice;

typedef struct {
    slice counts;
    int64_t missing, outside;
} feature;

typedef struct {
    uint32_t epoch;
    int64_t sequence, previous;
} record_key;

typedef struct {
    bool is_told, has_temperature;
    int throttled; /* -1: not told */
    int64_t rss_bytes, free_disk_bytes;
    double cpu_s, temperature_c;
} resources;

typedef struct {
    record_key key;
    text bundle, variant;
    uint64_t version;
    double started_s, ended_s;
    int64_t first_row, last_row, rows_scored;
    named_counts refused, errors;
    uint32_t n_features;
    slice predictions, agreement;
    uint32_t n_pairs;
    int32_t buckets[MOST_PAIRS];
    uint32_t rows[MOST_PAIRS];
    resources resources;
} window;

/* Everything that coding one pack needs, in one block that is used again. */
typedef struct {
    coder c;
    window windows[2];
    feature features[MOST_FEATURES];
    int64_t duration_ms;
    int32_t counts_left;
    /* Histograms of the window before by their place: a feature's number, or one of two more. */
    slice places[MOST_FEATURES + 2];
    bool is_known[MOST_FEATURES + 2];
    uint32_t n_counts;
    uint32_t counts[MOST_COUNTS];
    uint32_t span[MOST_SPAN], span_before[MOST_SPAN];
} pack;

/* Get ready to code the windows of one pack. */
void pack_begin(pack *p);
/* Code the number of records, 1 to MOST_WINDOWS. */
unsigned code_number_of_records(coder *c, unsigned n);
/* Code the record `now`, the one `before` in view (of the first: a window of nothing). */
void code_record(pack *p, window *now, const window *before, bool is_first);
/* Set a window to what the first of a pack is coded with in view. */
void window_of_nothing(window *w);

/* Take `n` counts from the store; returns where, or refuses. */
uint32_t take_counts(pack *p, uint32_t n);

#endif
