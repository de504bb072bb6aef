/* What a pack is, for writing and reading alike: `broker/packs.py` in C, the same to the bit. */
#include "window.h"

#include <string.h>

#include "histogram.h"

#define PAGE_BYTES 4096
#define MOST_SECONDS 1e12
#define PREDICTIONS MOST_FEATURES
#define AGREEMENT (MOST_FEATURES + 1)
#define N_VARIANTS 6

static const char *const VARIANTS[N_VARIANTS] = {"onnx-fp32", "onnx-int8", "tflite-fp32", "tflite-int8", "native", "native-int8"};

void pack_begin(pack *p)
{
    p->duration_ms = 0;
    p->counts_left = MOST_COUNTS;
    p->n_counts = 0;
    memset(p->is_known, 0, sizeof p->is_known);
}

void window_of_nothing(window *w)
{
    w->key = (record_key){0, 0, 0};
    w->bundle.size = 1;
    w->bundle.bytes[0] = '-';
    w->variant.size = 0;
    w->version = 1;
    w->started_s = w->ended_s = 0;
    w->first_row = w->last_row = w->rows_scored = 0;
    w->refused.n = w->errors.n = w->n_features = w->n_pairs = 0;
    w->predictions = w->agreement = (slice){0, 0};
    w->resources = (resources){.throttled = -1};
}

uint32_t take_counts(pack *p, uint32_t n)
{
    if (n > MOST_COUNTS - p->n_counts) {
        refuse(&p->c, "bins more than are allowed");
        return 0;
    }
    p->n_counts += n;
    return p->n_counts - n;
}

/* Refuse, before they are made, more bins than there may be. */
static bool may_have_bins(pack *p, int64_t n_bins, int64_t most)
{
    if (n_bins < 0 || n_bins > most || n_bins + 1 > p->counts_left) {
        refuse(&p->c, "bins more than are allowed");
        return false;
    }
    p->counts_left -= (int32_t)n_bins + 1;
    return p->c.refusal == NULL;
}

/* The number of thousandths that gives exactly this number back. */
static bool is_whole_ms(double seconds, int64_t *ms)
{
    if (!(fabs(seconds) <= MOST_SECONDS))
        return false;
    const double thousandths = rint(seconds * 1000);
    *ms = (int64_t)thousandths;
    /* Minus nought would come back as nought. */
    return thousandths / 1000 == seconds && (seconds != 0 || !signbit(seconds));
}

static double seconds_of(coder *c, int64_t ms)
{
    if (ms > GREATEST_NUMBER || ms < -GREATEST_NUMBER)
        refuse_beyond(c);
    return (double)ms / 1000;
}

static double code_double(coder *c, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = code_bits(c, bits, 64);
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double code_seconds(coder *c, unsigned name, unsigned in_ms, double value, int64_t known_ms)
{
    int64_t wanted_ms = 0;
    const bool is_whole = is_whole_ms(value, &wanted_ms);
    if (code_flag(c, in_ms, is_whole))
        return seconds_of(c, known_ms + code_signed(c, name, (is_whole ? wanted_ms : 0) - known_ms));
    return code_double(c, value);
}

static int64_t known_ms(double seconds)
{
    int64_t ms = 0;
    return is_whole_ms(seconds, &ms) ? ms : 0;
}

static void code_text(coder *c, unsigned name, text *value)
{
    const uint64_t size = code_integer(c, name, value->size);
    if (size > MOST_TEXT) {
        refuse(c, "a text of too many bytes");
        return;
    }
    value->size = (uint32_t)size;
    for (uint32_t i = 0; i < value->size && c->refusal == NULL; i++)
        value->bytes[i] = (uint8_t)code_bits(c, value->bytes[i], 8);
}

static bool is_same_text(const text *one, const text *other)
{
    return one->size == other->size && memcmp(one->bytes, other->bytes, one->size) == 0;
}

static void copy_text(text *to, const text *from)
{
    to->size = from->size;
    memcpy(to->bytes, from->bytes, from->size);
}

static void code_bundle(coder *c, window *now, const window *before)
{
    const bool is_same = c->mode == WRITING && now->version == before->version && is_same_text(&now->bundle, &before->bundle) &&
                         is_same_text(&now->variant, &before->variant);
    if (code_flag(c, SAME_BUNDLE, is_same)) {
        copy_text(&now->bundle, &before->bundle);
        copy_text(&now->variant, &before->variant);
        now->version = before->version;
        return;
    }
    code_text(c, BUNDLE_BYTES, &now->bundle);
    now->version = code_integer(c, BUNDLE_VERSION, now->version);
    unsigned known = 0;
    while (c->mode == WRITING && known < N_VARIANTS &&
           (strlen(VARIANTS[known]) != now->variant.size || memcmp(VARIANTS[known], now->variant.bytes, now->variant.size) != 0))
        known++;
    if (!code_flag(c, NAMED_VARIANT, known < N_VARIANTS)) {
        code_text(c, VARIANT_BYTES, &now->variant);
        return;
    }
    known = (unsigned)code_bits(c, known, 3);
    if (known >= N_VARIANTS) {
        refuse(c, "a variant that is not there");
        return;
    }
    now->variant.size = (uint32_t)strlen(VARIANTS[known]);
    memcpy(now->variant.bytes, VARIANTS[known], now->variant.size);
}

static void code_times(pack *p, window *now, const window *before)
{
    coder *c = &p->c;
    if (code_flag(c, STARTS_AT_END, now->started_s == before->ended_s))
        now->started_s = before->ended_s;
    else
        now->started_s = code_seconds(c, START, START_IN_MS, now->started_s, 0);
    int64_t start_ms = 0, end_ms = 0;
    const bool is_start_whole = is_whole_ms(now->started_s, &start_ms), is_end_whole = is_whole_ms(now->ended_s, &end_ms);
    if (!code_flag(c, WHOLE_MS, is_start_whole && is_end_whole)) {
        now->ended_s = code_double(c, now->ended_s);
        return;
    }
    if (!is_start_whole) {
        refuse(c, "a duration from a time that is no whole number of milliseconds");
        return;
    }
    p->duration_ms += code_signed(c, DURATION, is_end_whole ? end_ms - start_ms - p->duration_ms : 0);
    now->ended_s = seconds_of(c, start_ms + p->duration_ms);
}

static int64_t code_names(coder *c, unsigned n_names, unsigned bytes, unsigned count, named_counts *named)
{
    const uint64_t n = code_integer(c, n_names, named->n);
    if (n > MOST_NAMES) {
        refuse(c, "more names than are allowed");
        return 0;
    }
    named->n = (uint32_t)n;
    int64_t total = 0;
    for (uint32_t i = 0; i < named->n && c->refusal == NULL; i++) {
        code_text(c, bytes, &named->names[i]);
        named->counts[i] = (int64_t)code_integer(c, count, (uint64_t)named->counts[i]);
        total += named->counts[i];
    }
    return total;
}

/* Code a histogram of which the number of bins is not known. */
static void code_bins(pack *p, enum histogram_name name, uint32_t place, int64_t total, slice *counts)
{
    coder *c = &p->c;
    /* The place below the first feature's is that of the predictions; below that one's, of the agreement; below, none. */
    const uint32_t below = place == AGREEMENT ? MOST_FEATURES + 2 : place == PREDICTIONS ? AGREEMENT : place ? place - 1 : PREDICTIONS;
    int64_t usual = 0;
    if (p->is_known[place])
        usual = p->places[place].n;
    else if (below < MOST_FEATURES + 2 && p->is_known[below])
        usual = p->places[below].n;
    const int64_t n_bins = usual + code_signed(c, BINS + name, (int64_t)counts->n - usual);
    if (!may_have_bins(p, n_bins, MOST_BINS))
        return;
    if (total < 0 || (total && !n_bins)) {
        refuse(c, "rows that are in no bin");
        return;
    }
    if (c->mode == READING)
        *counts = (slice){take_counts(p, (uint32_t)n_bins), (uint32_t)n_bins};
    const uint32_t *in_view = p->is_known[place] && p->places[place].n == n_bins ? &p->counts[p->places[place].at] : NULL;
    code_histogram(c, name, (uint64_t)total, &p->counts[counts->at], (uint32_t)n_bins, in_view);
    p->places[place] = *counts;
    p->is_known[place] = true;
}

static int64_t total_of(const pack *p, slice counts)
{
    int64_t total = 0;
    for (uint32_t i = 0; p->c.mode == WRITING && i < counts.n; i++)
        total += p->counts[counts.at + i];
    return total;
}

static void code_features(pack *p, window *now, const window *before)
{
    coder *c = &p->c;
    const int64_t n = before->n_features + code_signed(c, FEATURES, (int64_t)now->n_features - before->n_features);
    if (n < 0 || n > MOST_FEATURES) {
        refuse(c, "more features than are allowed");
        return;
    }
    now->n_features = (uint32_t)n;
    for (uint32_t i = 0; i < now->n_features && c->refusal == NULL; i++) {
        feature *each = &p->features[i];
        if (c->mode == READING)
            *each = (feature){{0, 0}, 0, 0};
        int64_t total = total_of(p, each->counts);
        const bool is_plain = code_flag(c, PLAIN, each->missing == 0 && each->outside == 0 && total == now->rows_scored);
        if (!is_plain) {
            each->missing = (int64_t)code_integer(c, MISSING, (uint64_t)each->missing);
            each->outside = (int64_t)code_integer(c, OUT_OF_RANGE, (uint64_t)each->outside);
            /* Each scored row is in a bin or missing; refused rows may be missing as well. */
            const int64_t expected = now->rows_scored - each->missing;
            total = expected + code_signed(c, TOTAL + OF_FEATURE, total - expected);
        }
        code_bins(p, OF_FEATURE, i, is_plain ? now->rows_scored : total, &each->counts);
    }
}

/* Code a histogram of the answers, of which there is one for each scored row. */
static void code_answers(pack *p, enum histogram_name name, uint32_t place, int64_t scored, slice *counts)
{
    const int64_t total = scored + code_signed(&p->c, TOTAL + name, total_of(p, *counts) - scored);
    code_bins(p, name, place, total, counts);
}

static void spread_pairs(uint32_t *span, int64_t first, int64_t n, const window *w)
{
    memset(span, 0, (size_t)n * sizeof *span);
    for (uint32_t i = 0; i < w->n_pairs; i++)
        if (w->buckets[i] >= first && w->buckets[i] < first + n)
            span[w->buckets[i] - first] = w->rows[i];
}

static void gather_pairs(pack *p, int64_t first, int64_t n, window *now)
{
    now->n_pairs = 0;
    for (int64_t i = 0; i < n; i++) {
        if (p->span[i] == 0)
            continue;
        if (now->n_pairs == MOST_PAIRS || first + i > MOST_BUCKET || first + i < -MOST_BUCKET) {
            refuse(&p->c, "a sketch of durations that is none");
            return;
        }
        now->buckets[now->n_pairs] = (int32_t)(first + i);
        now->rows[now->n_pairs++] = p->span[i];
    }
}

/* Code a sketch as the histogram from its first to its last bucket. */
static void code_latency(pack *p, window *now, const window *before)
{
    coder *c = &p->c;
    int64_t total = 0;
    for (uint32_t i = 0; c->mode == WRITING && i < now->n_pairs; i++)
        total += now->rows[i];
    total = now->rows_scored + code_signed(c, TOTAL + OF_LATENCY, total - now->rows_scored);
    if (c->mode == READING)
        now->n_pairs = 0;
    if (total <= 0) {
        if (total < 0)
            refuse(c, "durations below nothing");
        return;
    }
    int64_t first = 0, span = 0, first_before = 0, span_before = 0;
    if (before->n_pairs) {
        first_before = before->buckets[0];
        span_before = before->buckets[before->n_pairs - 1] - before->buckets[0];
    }
    if (now->n_pairs) {
        first = now->buckets[0];
        span = now->buckets[now->n_pairs - 1] - now->buckets[0];
    }
    first = first_before + code_signed(c, LATENCY_FROM, first - first_before);
    span = span_before + code_signed(c, LATENCY_OVER, span - span_before);
    if (!may_have_bins(p, span + 1, MOST_SPAN))
        return;
    if (c->mode == WRITING)
        spread_pairs(p->span, first, span + 1, now);
    if (before->n_pairs)
        spread_pairs(p->span_before, first, span + 1, before);
    code_histogram(c, OF_LATENCY, (uint64_t)total, p->span, (uint32_t)span + 1, before->n_pairs ? p->span_before : NULL);
    if (c->mode == READING && c->refusal == NULL)
        gather_pairs(p, first, span + 1, now);
}

static int64_t code_pages(coder *c, unsigned name, unsigned in_pages, int64_t size_bytes, int64_t known_bytes)
{
    const int64_t unit = code_flag(c, in_pages, size_bytes % PAGE_BYTES == 0) ? PAGE_BYTES : 1;
    const int64_t known = known_bytes / unit, size = known + code_signed(c, name, size_bytes / unit - known);
    if (size < 0 || size > GREATEST_NUMBER / unit) {
        refuse(c, "a size beyond all memory");
        return 0;
    }
    return size * unit;
}

static void code_resources(coder *c, resources *now, const resources *before)
{
    const resources none = {.throttled = -1};
    if (!before->is_told)
        before = &none;
    if (c->mode == READING)
        *now = none;
    now->is_told = code_flag(c, HAS_RESOURCES, now->is_told);
    if (!now->is_told)
        return;
    now->rss_bytes = code_pages(c, RSS, RSS_IN_PAGES, now->rss_bytes, before->rss_bytes);
    now->cpu_s = code_seconds(c, CPU, CPU_IN_MS, now->cpu_s, known_ms(before->cpu_s));
    now->free_disk_bytes = code_pages(c, DISK, DISK_IN_PAGES, now->free_disk_bytes, before->free_disk_bytes);
    now->has_temperature = code_flag(c, HAS_TEMPERATURE, now->has_temperature);
    if (now->has_temperature) {
        const double warmth = before->has_temperature ? before->temperature_c : 0;
        now->temperature_c = code_seconds(c, WARMTH, WARMTH_IN_MS, now->temperature_c, known_ms(warmth));
    }
    if (code_flag(c, THROTTLING_TOLD, now->throttled >= 0))
        now->throttled = code_flag(c, THROTTLED, now->throttled > 0);
}

static void code_rows(coder *c, window *now, const window *before)
{
    const int64_t more_before = before->last_row - before->first_row;
    const bool follows = code_flag(c, ROWS_FOLLOW, now->first_row == before->last_row + 1);
    const int64_t more = now->last_row - now->first_row - more_before;
    now->first_row = follows ? before->last_row + 1 : (int64_t)code_integer(c, FIRST_ROW, (uint64_t)now->first_row);
    now->last_row = now->first_row + code_signed(c, ROWS_MORE, more) + more_before;
    const int64_t taken = now->last_row + 1 - now->first_row - code_names(c, REFUSED_NAMES, REFUSED_BYTES, REFUSED, &now->refused);
    now->rows_scored = taken + code_signed(c, SCORED, now->rows_scored - taken);
    if (now->first_row > GREATEST_NUMBER || now->last_row < 0 || now->last_row > GREATEST_NUMBER || now->rows_scored < 0 ||
        now->rows_scored > GREATEST_NUMBER)
        refuse(c, "rows that no source has");
}

static void code_key(coder *c, record_key *now, const record_key *before, bool is_first)
{
    if (is_first) {
        now->epoch = (uint32_t)code_bits(c, now->epoch, 32);
        const int64_t jump = now->sequence - 1 - now->previous;
        now->sequence = (int64_t)code_integer(c, SEQUENCE, (uint64_t)now->sequence);
        now->previous = now->sequence - 1 - (int64_t)code_integer(c, JUMP, jump > 0 ? (uint64_t)jump : 0);
    } else {
        const int64_t jump = now->sequence - 1 - before->sequence;
        now->epoch = before->epoch;
        now->sequence = before->sequence + 1 + (int64_t)code_integer(c, JUMP, jump > 0 ? (uint64_t)jump : 0);
        now->previous = before->sequence;
    }
    if (now->sequence < 1 || now->sequence > GREATEST_NUMBER || now->previous < 0)
        refuse(c, "a record that no spool has");
}

unsigned code_number_of_records(coder *c, unsigned n)
{
    const uint64_t coded = 1 + code_integer(c, RECORDS, n - 1);
    if (coded > MOST_WINDOWS) {
        refuse(c, "windows, at most 16 are allowed");
        return 0;
    }
    return (unsigned)coded;
}

void code_record(pack *p, window *now, const window *before, bool is_first)
{
    coder *c = &p->c;
    code_key(c, &now->key, &before->key, is_first);
    if (c->refusal == NULL)
        code_bundle(c, now, before);
    if (c->refusal == NULL)
        code_times(p, now, before);
    if (c->refusal == NULL)
        code_rows(c, now, before);
    if (c->refusal == NULL)
        code_features(p, now, before);
    if (c->refusal == NULL)
        code_answers(p, OF_PREDICTIONS, PREDICTIONS, now->rows_scored, &now->predictions);
    if (c->refusal == NULL)
        code_answers(p, OF_AGREEMENT, AGREEMENT, now->rows_scored, &now->agreement);
    if (c->refusal == NULL)
        code_latency(p, now, before);
    if (c->refusal == NULL)
        code_names(c, ERRORS_NAMES, ERRORS_BYTES, ERRORS, &now->errors);
    if (c->refusal == NULL)
        code_resources(c, &now->resources, &before->resources);
}
