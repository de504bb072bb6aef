#include "table.h"

#include <math.h>

void fl_refuse(fl_load *load, fl_status why)
{
    if (load->status == FL_OK)
        load->status = why;
    load->at = load->end;
}

void *fl_take(fl_load *load, uint64_t count, uint64_t size)
{
    static uint64_t nothing[FL_ALIGNMENT / 8];
    if (load->status != FL_OK)
        return NULL;
    if (count > FL_MOST_MEMORY || (size != 0 && count > FL_MOST_MEMORY / size)) {
        fl_refuse(load, FL_TOO_LARGE);
        return NULL;
    }
    const uint64_t bytes = (count * size + FL_ALIGNMENT - 1) & ~(uint64_t)(FL_ALIGNMENT - 1);
    if (bytes > FL_MOST_MEMORY - load->used) {
        fl_refuse(load, FL_TOO_LARGE);
        return NULL;
    }
    const uint64_t before = load->used;
    load->used += bytes;
    if (load->block == NULL)
        return NULL;
    if (load->used > load->size) { /* both rounds take the same: this never happens, and must not be trusted to */
        fl_refuse(load, FL_TOO_LARGE);
        return NULL;
    }
    return bytes == 0 ? (void *)nothing : (void *)(load->block + before);
}

void fl_need_scratch(fl_load *load, uint64_t size)
{
    if (size > FL_MOST_MEMORY)
        fl_refuse(load, FL_TOO_LARGE);
    else if (size > load->scratch)
        load->scratch = size;
}

void fl_add_work(fl_load *load, uint64_t steps)
{
    if (steps > FL_MOST_WORK - load->work)
        fl_refuse(load, FL_TOO_LARGE);
    else
        load->work += steps;
}

const uint8_t *fl_read_bytes(fl_load *load, uint64_t size)
{
    if (load->status != FL_OK)
        return NULL;
    if (size > (uint64_t)(load->end - load->at)) {
        fl_refuse(load, FL_WRONG_LENGTH);
        return NULL;
    }
    const uint8_t *found = load->at;
    load->at += size;
    return found;
}

uint8_t fl_read_u8(fl_load *load)
{
    const uint8_t *found = fl_read_bytes(load, 1);
    return found ? *found : 0;
}

uint32_t fl_read_u32(fl_load *load)
{
    uint32_t value = 0;
    const uint8_t *found = fl_read_bytes(load, sizeof value);
    if (found)
        memcpy(&value, found, sizeof value);
    return value;
}

static bool obeys(double value, fl_numbers rule)
{
    return rule == FL_ANY_NUMBER || (rule == FL_NO_NAN ? !isnan(value) : isfinite(value) != 0);
}

float fl_read_f32(fl_load *load)
{
    float value = 0;
    const uint8_t *found = fl_read_bytes(load, sizeof value);
    if (found)
        memcpy(&value, found, sizeof value);
    return value;
}

double fl_read_f64(fl_load *load, fl_numbers rule)
{
    double value = 0;
    const uint8_t *found = fl_read_bytes(load, sizeof value);
    if (found)
        memcpy(&value, found, sizeof value);
    if (!obeys(value, rule))
        fl_refuse(load, FL_BAD_NUMBER);
    return value;
}

/* Copy `count` parts out of the table; NULL where there is nothing to look at (yet). */
static void *copy(fl_load *load, uint64_t count, uint64_t size)
{
    const uint8_t *found = fl_read_bytes(load, count * size);
    void *laid = fl_take(load, count, size);
    if (found && laid && count)
        memcpy(laid, found, count * size);
    return laid;
}

uint32_t *fl_read_u32s(fl_load *load, uint64_t count)
{
    return copy(load, count, sizeof(uint32_t));
}

float *fl_read_f32s(fl_load *load, uint64_t count, fl_numbers rule)
{
    float *values = copy(load, count, sizeof *values);
    for (uint64_t i = 0; values && i < count; i++) {
        if (!obeys((double)values[i], rule)) {
            fl_refuse(load, FL_BAD_NUMBER);
            return NULL;
        }
    }
    return values;
}

double *fl_read_f64s(fl_load *load, uint64_t count, fl_numbers rule)
{
    double *values = copy(load, count, sizeof *values);
    for (uint64_t i = 0; values && i < count; i++) {
        if (!obeys(values[i], rule)) {
            fl_refuse(load, FL_BAD_NUMBER);
            return NULL;
        }
    }
    return values;
}

uint64_t fl_read_starts(fl_load *load, uint32_t n, uint32_t **starts)
{
    uint64_t sum = 0;
    uint32_t *laid = fl_take(load, (uint64_t)n + 1, sizeof *laid);
    for (uint32_t i = 0; i < n && load->status == FL_OK; i++) {
        if (laid)
            laid[i] = (uint32_t)sum;
        sum += fl_read_u32(load);
        if (sum > FL_MOST_MEMORY)
            fl_refuse(load, FL_TOO_LARGE);
    }
    if (laid && load->status == FL_OK)
        laid[n] = (uint32_t)sum;
    *starts = laid;
    return load->status == FL_OK ? sum : 0;
}

/* CRC-32 of zlib, four bits at a time: the table of 256 words would be longer than the loop is slow. */
uint32_t fl_checksum(const uint8_t *bytes, size_t size)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < size; i++) {
        crc = table[(crc ^ bytes[i]) & 15] ^ (crc >> 4);
        crc = table[(crc ^ ((uint32_t)bytes[i] >> 4)) & 15] ^ (crc >> 4);
    }
    return crc ^ 0xffffffff;
}
