/* Nearly every count of nearly every window goes through these two loops: no division, no call, no guess of a branch. */
#include "even.h"

/* Up to so many bins and so many rows, 64 bits are enough for what is reckoned here, and it is exact. */
#define MOST_EVEN_BINS 256
#define MOST_EVEN_ROWS (UINT64_C(1) << 19)
#define MEAN_BITS 32
#define VARIANCE_BITS 40

/* By the number of bins that are left: a row's share of the next bin's mean, and of 16 times its variance. With these
 * many bits, rounded up, a product's whole part is the quotient's: rows < 2**19, divisors <= 2**8 and 2**16. */
static struct {
    uint64_t mean, variance_16;
} shares[MOST_EVEN_BINS + 1];

void even_open(void)
{
    for (uint64_t left = 1; left <= MOST_EVEN_BINS; left++) {
        shares[left].mean = ((UINT64_C(1) << MEAN_BITS) + left - 1) / left;
        shares[left].variance_16 = ((16 * (left - 1) << VARIANCE_BITS) + left * left - 1) / (left * left);
    }
}

static bool is_small(uint64_t total, uint32_t n_bins)
{
    return n_bins <= MOST_EVEN_BINS && total < MOST_EVEN_ROWS;
}

uint32_t read_even(coder *c, uint64_t *rest, uint32_t *counts, uint32_t n_bins)
{
    if (!is_small(*rest, n_bins))
        return 0;
    uint64_t left_rows = *rest;
    uint32_t state = c->state, done = 0;
    const uint8_t *at = c->at, *const end = c->end;
    /* A count takes two bytes at most. */
    while (done + 1 < n_bins && end - at >= 2) {
        const uint32_t left = n_bins - done;
        const uint64_t mean = left_rows * shares[left].mean >> MEAN_BITS;
        const uint64_t variance_16 = left_rows * shares[left].variance_16 >> VARIANCE_BITS;
        if (variance_16 > GREATEST_VARIANCE)
            break;
        const unsigned which = fl_table_of[variance_16];
        const uint16_t *starts = fl_tables[which].starts;
        const uint32_t radius = fl_tables[which].radius, place = state & ((1u << TABLE_BITS) - 1);
        const uint32_t symbol = symbol_at(stretches_of(which), starts, place);
        const uint64_t count = mean + symbol - radius;
        /* Below nothing is beyond everything. */
        if (symbol > 2 * radius || count > left_rows)
            break;
        state = (starts[symbol + 1] - (uint32_t)starts[symbol]) * (state >> TABLE_BITS) + place - starts[symbol];
        const uint32_t more = state << 16 | (uint32_t)at[0] << 8 | at[1];
        at += state < LOWEST ? 2 : 0;
        state = state < LOWEST ? more : state;
        left_rows -= count;
        counts[done++] = (uint32_t)count;
    }
    c->state = state;
    c->at = at;
    *rest = left_rows;
    return done;
}

bool steps_of_even(uint64_t total, const uint32_t *counts, uint32_t n_bins, step *steps, double *spent)
{
    if (!is_small(total, n_bins))
        return false;
    uint64_t left_rows = total;
    for (uint32_t at = 0; at + 1 < n_bins; at++) {
        const uint32_t left = n_bins - at;
        const uint64_t mean = left_rows * shares[left].mean >> MEAN_BITS;
        const uint64_t variance_16 = left_rows * shares[left].variance_16 >> VARIANCE_BITS;
        if (variance_16 > GREATEST_VARIANCE)
            return false;
        const unsigned which = fl_table_of[variance_16];
        const uint16_t *starts = fl_tables[which].starts;
        const uint32_t radius = fl_tables[which].radius;
        const uint64_t symbol = counts[at] + (uint64_t)radius - mean;
        if (symbol > 2 * radius)
            return false;
        const uint32_t frequency = (uint32_t)starts[symbol + 1] - starts[symbol];
        steps[at] = (step){starts[symbol], (uint16_t)frequency, TABLE_BITS};
        *spent += bits_of_symbol(frequency);
        left_rows -= counts[at];
    }
    return true;
}
