/* Most of what version 1 allows has its places in `window.h`; here is the rest. */
#include "limits.h"

#define MOST_NAME 64
#define MOST_SHORT_TEXT 128
#define MOST_VERSION (UINT64_C(1) << 31)
#define MOST_SECONDS 1e12
#define COLDEST (-273.15)
#define WARMEST 1000.0

/* Every message that has its place here is within its channel's limit: a count takes five bytes, a number nine, what
 * is around them less than a thousand. */
_Static_assert(5 * MOST_COUNTS + MOST_FEATURES * 22 + MOST_PAIRS * 9 + 2 * MOST_NAMES * (MOST_TEXT + 13) + 2048 < 256 << 10,
               "a window of a pack may be over the limit of telemetry");

/* Characters of a text in UTF-8, without halves of pairs; more than any limit where it is none. */
static uint32_t characters_of(const text *value)
{
    uint32_t n = 0;
    for (uint32_t at = 0; at < value->size; n++) {
        const uint8_t first = value->bytes[at];
        const uint32_t size = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
        if (size == 0 || size > value->size - at)
            return UINT32_MAX;
        uint32_t character = size == 1 ? first : first & (0x7fu >> size);
        for (uint32_t i = 1; i < size; i++) {
            if (value->bytes[at + i] >> 6 != 2)
                return UINT32_MAX;
            character = character << 6 | (value->bytes[at + i] & 0x3fu);
        }
        if ((size == 3 && (character < 0x800 || character >> 11 == 0x1b)) || (size == 4 && (character < 0x10000 || character > 0x10ffff)))
            return UINT32_MAX;
        at += size;
    }
    return n;
}

static bool is_between(double least, double value, double most)
{
    /* NaN is between nothing. */
    return value >= least && value <= most;
}

static bool is_number(int64_t value)
{
    return value >= 0 && value <= GREATEST_NUMBER;
}

static bool are_named(const named_counts *named)
{
    for (uint32_t i = 0; i < named->n; i++)
        if (characters_of(&named->names[i]) > MOST_SHORT_TEXT || !is_number(named->counts[i]))
            return false;
    return true;
}

static bool are_resources(const resources *told)
{
    if (!told->is_told)
        return true;
    return is_number(told->rss_bytes) && is_number(told->free_disk_bytes) && told->cpu_s >= 0 && isfinite(told->cpu_s) &&
           (!told->has_temperature || is_between(COLDEST, told->temperature_c, WARMEST));
}

static bool are_features(const pack *p, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!is_number(p->features[i].missing) || !is_number(p->features[i].outside))
            return false;
    return true;
}

void verify_limits(pack *p, const window *w)
{
    const uint32_t name = characters_of(&w->bundle);
    if (name < 1 || name > MOST_NAME || characters_of(&w->variant) > MOST_SHORT_TEXT)
        refuse(&p->c, "a bundle's name that is none");
    if (w->version < 1 || w->version > MOST_VERSION)
        refuse(&p->c, "a bundle's version that is none");
    if (!is_between(-MOST_SECONDS, w->started_s, MOST_SECONDS) || !is_between(-MOST_SECONDS, w->ended_s, MOST_SECONDS))
        refuse(&p->c, "a time that is none");
    if (w->key.sequence < 1 || !is_number(w->key.sequence) || !is_number(w->key.previous) || !is_number(w->first_row) ||
        !is_number(w->last_row) || !is_number(w->rows_scored))
        refuse(&p->c, "a record or rows that nobody has");
    if (!are_named(&w->refused) || !are_named(&w->errors) || !are_features(p, w->n_features) || !are_resources(&w->resources))
        refuse(&p->c, "a number or a text beyond what is allowed");
}
