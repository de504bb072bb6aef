#include "vectors.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdint.h>

/* By hand: the compiler's own question needs a run-time library that a shared object may come without. */
bool fl_has_vectors(void)
{
    uint32_t a, b, c, d, low, high;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0 || (c & bit_AVX) == 0 || (c & bit_POPCNT) == 0)
        return false;
    /* The system keeps the upper halves of the registers when it changes threads. */
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low & 6) != 6)
        return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_AVX2) != 0 && (b & bit_BMI) != 0 && (b & bit_BMI2) != 0;
}
#elif defined(__aarch64__)
bool fl_has_vectors(void)
{
    return true;
}
#else
bool fl_has_vectors(void)
{
    return false;
}
#endif
