#include "rows.h"

#include <math.h>
#include <string.h>

/* Of telemetry/sketches.py. */
static const double least_us = 1e-3, most_us = 1e12, gamma_of_sketch = 1.02;

/* How many edges do not lie above a number: bisect_right, NaN lies above all. */
static uint32_t bin_of(const double *edges, uint32_t n, double number)
{
    if (n <= 32) { /* no branch to foresee */
        uint32_t bin = 0;
        for (uint32_t i = 0; i < n; i++)
            bin += !(number < edges[i]);
        return bin;
    }
    uint32_t low = 0, high = n;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (number < edges[middle])
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static uint32_t bucket_of(double latency_us)
{
    const double bounded = latency_us > most_us ? most_us : latency_us > least_us ? latency_us : least_us;
    const int bucket = (int)ceil(log(bounded) / log(gamma_of_sketch)) - FL_FIRST_BUCKET;
    return bucket < 0 ? 0 : bucket < (int)FL_BUCKETS ? (uint32_t)bucket : FL_BUCKETS - 1;
}

size_t fl_rows_counts(const fl_rows *block)
{
    const size_t n_predictions = block->is_classification ? block->n_outputs : block->n_output_edges + 1;
    return block->starts[block->n_features] + 3 * (size_t)block->n_features + n_predictions + block->n_agreement;
}

/* First of the greatest, as max() and index() find it. */
static uint32_t greatest(const double *numbers, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        best = numbers[i] > numbers[best] ? i : best;
    return best;
}

static void decide(const fl_rows *block, fl_row *row, const float *answer, const double *second)
{
    if (!block->is_classification) {
        const double distance = fabs((double)answer[0] - second[0]);
        row->value = (double)answer[0];
        row->confidence = 0.0;
        row->uncertainty = distance;
        row->label = bin_of(block->output_edges, block->n_output_edges, row->value);
        row->agreement = bin_of(block->disagreement_edges, block->n_disagreement_edges, distance);
        row->agrees = row->agreement < (block->n_agreement + 1) / 2;
        return;
    }
    uint32_t label = 0;
    for (uint32_t o = 1; o < block->n_outputs; o++)
        label = answer[o] > answer[label] ? o : label;
    const double top = (double)answer[label];
    const double confidence = top > 1.0 ? 1.0 : top > 0.0 ? top : 0.0;
    const uint32_t bin = (uint32_t)(confidence * FL_CONFIDENCE_BINS);
    row->label = label;
    row->value = label;
    row->confidence = confidence;
    row->uncertainty = 1.0 - confidence;
    row->agrees = greatest(second, block->n_outputs) == label;
    row->agreement = row->agrees * FL_CONFIDENCE_BINS + (bin < FL_CONFIDENCE_BINS ? bin : FL_CONFIDENCE_BINS - 1);
}

static void count_features(const fl_rows *block, const fl_row *row, const double *values)
{
    if (block->grid != NULL && !row->has_missing) {
        block->ways->count(block, values);
        return;
    }
    for (uint32_t i = 0; i < block->n_features; i++) {
        const uint32_t n_edges = block->starts[i + 1] - block->starts[i];
        const uint32_t bin = bin_of(block->edges + block->starts[i], n_edges, values[i]);
        block->counts[block->starts[i] + 2 * i + (isnan(values[i]) ? n_edges + 1 : bin)]++;
    }
}

static void count(fl_rows *block, const fl_row *row, const double *values, const uint8_t *outside)
{
    uint64_t *counts = block->counts;
    count_features(block, row, values);
    counts += block->starts[block->n_features] + 2 * (size_t)block->n_features;
    if (row->has_outside)
        for (uint32_t i = 0; i < block->n_features; i++)
            counts[i] += outside[i];
    counts += block->n_features;
    counts[row->label]++;
    counts += block->is_classification ? block->n_outputs : block->n_output_edges + 1;
    counts[row->agreement]++;
    if (row->latency_us != block->latency_us) {
        block->latency_us = row->latency_us;
        block->bucket = bucket_of(row->latency_us);
    }
    const uint32_t bucket = block->bucket;
    block->latencies[bucket]++;
    if (bucket < block->first_bucket)
        block->first_bucket = bucket;
    if (bucket > block->last_bucket || block->last_bucket == FL_BUCKETS)
        block->last_bucket = bucket;
}

static bool is_finite(const fl_rows *block, uint32_t place)
{
    const float *answer = block->answers + (size_t)place * block->n_outputs;
    bool finite = true;
    for (uint32_t o = 0; o < block->n_outputs; o++)
        finite = finite && isfinite(answer[o]);
    return finite;
}

/* What the second model gets of a row: its own numbers, or for missing ones the means. */
static const double *without_missing(const fl_rows *block, uint32_t place, double *filled)
{
    const double *values = block->values + (size_t)place * block->n_features;
    if (!block->rows[place].has_missing)
        return values;
    for (uint32_t i = 0; i < block->n_features; i++)
        filled[i] = isnan(values[i]) ? block->means[i] : values[i];
    return filled;
}

static void settle_one(fl_rows *block, uint32_t place, double *second)
{
    fl_row *row = block->rows + place;
    for (uint32_t o = 0; o < block->n_outputs; o++)
        second[o] += block->intercepts[o];
    decide(block, row, block->answers + (size_t)place * block->n_outputs, second);
    count(block, row, block->values + (size_t)place * block->n_features, block->outside + (size_t)place * block->n_features);
    row->state = FL_ROW_COUNTED;
}

static void settle_two(fl_rows *block, uint32_t one, uint32_t other)
{
    double *second = block->second, *other_second = block->second + block->n_padded;
    block->ways->score_two(block, without_missing(block, one, block->filled),
                           without_missing(block, other, block->filled + block->n_features), second, other_second);
    settle_one(block, one, second);
    if (other != one)
        settle_one(block, other, other_second);
}

uint32_t fl_rows_settle(fl_rows *block, uint32_t n)
{
    uint32_t n_counted = 0, waiting = n;
    for (uint32_t place = 0; place < n; place++) {
        if (block->rows[place].state != FL_ROW_SCORED || !is_finite(block, place))
            continue;
        n_counted++;
        if (waiting == n) {
            waiting = place;
        } else {
            settle_two(block, waiting, place);
            waiting = n;
        }
    }
    if (waiting < n)
        settle_two(block, waiting, waiting);
    return n_counted;
}

void fl_rows_clear(fl_rows *block)
{
    memset(block->counts, 0, fl_rows_counts(block) * sizeof *block->counts);
    if (block->last_bucket < FL_BUCKETS)
        memset(block->latencies + block->first_bucket, 0,
               (block->last_bucket - block->first_bucket + 1) * sizeof *block->latencies);
    block->first_bucket = block->last_bucket = FL_BUCKETS;
}

/* Powers of ten that a double holds exactly. */
static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

bool fl_read_decimal(const char *text, size_t length, double *number)
{
    const char *end = text + length;
    const bool is_negative = text < end && *text == '-';
    uint64_t digits = 0;
    int n_digits = 0, n_after = 0;
    bool is_after = false;
    text += is_negative;
    for (; text < end; text++) {
        if (*text == '.' && !is_after) {
            is_after = true;
            continue;
        }
        /* So many digits and so small a power of ten are exact, and their quotient is rounded once (Clinger 1990). */
        if (*text < '0' || *text > '9' || n_digits == 15)
            return false;
        digits = digits * 10 + (uint64_t)(*text - '0');
        n_digits++;
        n_after += is_after;
    }
    if (n_digits == 0)
        return false;
    const double found = (double)digits / powers[n_after];
    *number = is_negative ? -found : found;
    return true;
}
