/* The five ways to code a histogram; `broker/counts.py` says what they are. */
#include "histogram.h"

#include <string.h>

#include "even.h"

#define NOT_UNUSUAL_BITS 4.0
#define PI 3.141592653589793
#define E 2.718281828459045
/* Below this, everything that is reckoned here fits into 64 bits. */
#define SMALL (UINT64_C(1) << 19)

enum way { EVEN, SAME, SINGLE, AS_BEFORE, SPREAD };

typedef struct {
    coder *c;
    enum histogram_name name;
    uint64_t total, total_before;
    uint32_t *counts;
    uint32_t n_bins;
    const uint32_t *before;
} histogram;

/* Take a number away from what is left to count, or refuse it. */
static uint64_t rest_of(coder *c, uint64_t rest, int64_t number)
{
    if (number < 0 || (uint64_t)number > rest) {
        refuse(c, "counts that do not add up to their total");
        return 0;
    }
    return rest - (uint64_t)number;
}

static void put_count(const histogram *h, uint32_t at, uint64_t count)
{
    if (h->c->mode == READING)
        h->counts[at] = (uint32_t)count;
}

static uint64_t quotient(uint64_t number, uint64_t by)
{
    return number <= UINT32_MAX && by <= UINT32_MAX ? (uint32_t)number / (uint32_t)by : number / by;
}

static void code_even(const histogram *h)
{
    uint64_t rest = h->total;
    uint32_t at = h->c->mode == READING ? read_even(h->c, &rest, h->counts, h->n_bins) : 0;
    for (; at + 1 < h->n_bins && h->c->refusal == NULL; at++) {
        const uint64_t left = h->n_bins - at;
        const uint64_t variance_16 = quotient(16 * rest * (left - 1), left * left);
        const int64_t number = code_near(h->c, quotient(rest, left), variance_16, h->counts[at]);
        rest = rest_of(h->c, rest, number);
        put_count(h, at, (uint64_t)number);
    }
    put_count(h, h->n_bins - 1, rest);
}

/* Code one count as of numbers that fall into each bin as often as those before did. */
static int64_t code_one_as_before(coder *c, uint64_t rest, uint64_t part, uint64_t whole, uint64_t rest_before, uint32_t count)
{
    const uint64_t divisor = rest_before ? rest_before : 1;
    if (rest < SMALL && whole < SMALL) {
        uint64_t variance_16 = 16 * rest * part * (whole - part) / (whole * whole);
        variance_16 += variance_16 * rest / divisor;
        return code_near(c, rest * part / whole, variance_16, count);
    }
#if defined(__SIZEOF_INT128__)
    typedef unsigned __int128 wide;
    wide variance_16 = (wide)(16 * rest) * part * (whole - part) / ((wide)whole * whole);
    variance_16 += variance_16 * rest / divisor;
    const uint64_t mean = (uint64_t)((wide)rest * part / whole);
    if (variance_16 <= UINT64_MAX)
        return code_near(c, mean, (uint64_t)variance_16, count);
#endif
    refuse_beyond(c);
    return 0;
}

static void code_as_before(const histogram *h)
{
    uint64_t rest = h->total, rest_before = h->total_before;
    for (uint32_t at = 0; at + 1 < h->n_bins && h->c->refusal == NULL; at++) {
        /* Half a row more in each bin: what was not seen yet may come. */
        const uint64_t part = 2 * (uint64_t)h->before[at] + 1, whole = 2 * rest_before + h->n_bins - at;
        const int64_t number = code_one_as_before(h->c, rest, part, whole, rest_before, h->counts[at]);
        rest_before -= h->before[at];
        rest = rest_of(h->c, rest, number);
        put_count(h, at, (uint64_t)number);
    }
    put_count(h, h->n_bins - 1, rest);
}

static void code_spread(const histogram *h)
{
    uint64_t rest = h->total;
    bool was_empty = false;
    uint32_t at = 0;
    for (; at + 1 < h->n_bins && rest && h->c->refusal == NULL; at++) {
        was_empty = code_flag(h->c, EMPTY_AFTER + 2 * h->name + was_empty, h->counts[at] == 0);
        uint64_t number = 0;
        if (!was_empty) {
            const uint64_t usual = rest / (h->n_bins - at);
            const unsigned length = usual ? 64 - (unsigned)__builtin_clzll(usual) : 0;
            number = 1 + code_integer(h->c, COUNT_OF + N_USUAL * h->name + length, h->counts[at] ? h->counts[at] - 1 : 0);
        }
        rest = rest_of(h->c, rest, (int64_t)number);
        put_count(h, at, number);
    }
    for (; at + 1 < h->n_bins; at++)
        put_count(h, at, 0);
    put_count(h, h->n_bins - 1, rest);
}

static void code_single(const histogram *h)
{
    uint32_t place = 0;
    while (h->c->mode != READING && place + 1 < h->n_bins && h->counts[place] == 0)
        place++;
    const unsigned n_bits = h->n_bins > 1 ? 32 - (unsigned)__builtin_clz(h->n_bins - 1) : 0;
    place = (uint32_t)code_bits(h->c, place, n_bits);
    if (place >= h->n_bins) {
        refuse(h->c, "a bin that is not there");
        return;
    }
    for (uint32_t at = 0; at < h->n_bins; at++)
        put_count(h, at, at == place ? h->total : 0);
}

static void code_way(const histogram *h, enum way way)
{
    switch (way) {
    case EVEN:
        code_even(h);
        break;
    case SAME:
        if (h->c->mode == READING)
            memcpy(h->counts, h->before, h->n_bins * sizeof *h->counts);
        break;
    case SINGLE:
        code_single(h);
        break;
    case AS_BEFORE:
        code_as_before(h);
        break;
    default:
        code_spread(h);
    }
}

/* The entropy of a total of numbers that fall into each bin with the same chance, about. */
static double usual_bits(const histogram *h)
{
    /* Histograms of one name have the same total and as many bins, nearly always. */
    static struct {
        uint64_t total;
        uint32_t n_bins;
        double bits;
    } last[N_HISTOGRAM_NAMES];
    if (last[h->name].total != h->total || last[h->name].n_bins != h->n_bins) {
        const double mean = (double)h->total / h->n_bins, variance = mean > 1.0 ? mean : 1.0;
        last[h->name].bits = (double)(h->n_bins - 1) * 0.5 * log2(2 * PI * E * variance) - 0.5 * log2((double)h->n_bins);
        last[h->name].total = h->total;
        last[h->name].n_bins = h->n_bins;
    }
    return last[h->name].bits;
}

static bool is_same(const histogram *h)
{
    return memcmp(h->counts, h->before, h->n_bins * sizeof *h->counts) == 0;
}

static bool is_single(const histogram *h)
{
    for (uint32_t at = 0; at < h->n_bins; at++)
        if (h->counts[at] == h->total)
            return true;
    return false;
}

/* Write a histogram the even way, if it is not dearer than usual: then it need not be measured first. */
static bool is_written_evenly(const histogram *h)
{
    coder *c = h->c;
    chance *is_even = &c->chances[WAY + 4 * h->name + EVEN];
    if (!has_room_for_steps(c, h->n_bins))
        return false;
    step *steps = c->steps + c->n_steps;
    double spent = bits_of_flag(is_even->set_4096);
    if (!steps_of_even(h->total, h->counts, h->n_bins, steps + 1, &spent) ||
        spent >= usual_bits(h) + NOT_UNUSUAL_BITS)
        return false;
    steps[0] = (step){0, is_even->set_4096, FLAG_BITS};
    learn(is_even, true);
    c->n_steps += h->n_bins;
    return true;
}

/* Choose the cheapest way; a reader has nothing to choose. */
static unsigned best_of(const histogram *h, const enum way *ways, unsigned n_ways)
{
    for (unsigned place = 0; place < n_ways; place++)
        if ((ways[place] == SAME && is_same(h)) || (ways[place] == SINGLE && is_single(h)))
            return place;
    coder *c = h->c;
    unsigned best = n_ways - 1;
    double least = INFINITY;
    c->mode = MEASURING;
    for (unsigned place = 0; place < n_ways; place++) {
        if (ways[place] == SAME || ways[place] == SINGLE)
            continue;
        c->spent = 0;
        for (unsigned at = 0; at <= place && at + 1 < n_ways; at++)
            code_flag(c, WAY + 4 * h->name + ways[at], at == place);
        code_way(h, ways[place]);
        if (c->spent < least) {
            least = c->spent;
            best = place;
        }
        /* As cheap as anything can be: the others need not be measured, which is most of the work. */
        if (ways[place] == EVEN && c->spent < usual_bits(h) + NOT_UNUSUAL_BITS)
            break;
    }
    c->mode = WRITING;
    return best;
}

void code_histogram(coder *c, enum histogram_name name, uint64_t total, uint32_t *counts, uint32_t n_bins,
                    const uint32_t *before)
{
    if (c->refusal != NULL)
        return;
    histogram h = {c, name, total, 0, counts, n_bins, before};
    if (n_bins == 0 || total == 0) {
        for (uint32_t at = 0; at < n_bins; at++)
            put_count(&h, at, 0);
        return;
    }
    if (total > UINT32_MAX) {
        refuse_beyond(c);
        return;
    }
    for (uint32_t at = 0; before != NULL && at < n_bins; at++)
        h.total_before += before[at];
    enum way ways[5];
    unsigned n_ways = 0;
    ways[n_ways++] = EVEN;
    if (h.total_before == total && before != NULL)
        ways[n_ways++] = SAME;
    ways[n_ways++] = SINGLE;
    if (h.total_before > 0)
        ways[n_ways++] = AS_BEFORE;
    ways[n_ways++] = SPREAD;
    if (c->mode == WRITING && !(h.total_before == total && is_same(&h)) && !is_single(&h) && is_written_evenly(&h))
        return;
    const unsigned best = c->mode == READING ? n_ways - 1 : best_of(&h, ways, n_ways);
    for (unsigned place = 0; place < n_ways; place++)
        if (place == n_ways - 1 || code_flag(c, WAY + 4 * name + ways[place], place == best)) {
            code_way(&h, ways[place]);
            return;
        }
}
