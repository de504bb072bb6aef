/* Functions of each number, and those of a whole vector: softmax, proportions, norms, the greatest number. */
#include <float.h>
#include <math.h>

#include "model.h"

enum { RELU, TANH, LOGISTIC, EXP, LOG, SQRT, SQUARE, ABS, RECIPROCAL, LOG1P, EXPM1, CURVES };
enum { L1, L2, MAX, NORMS };

/* Ten float32 epsilons: scikit-learn takes the norm of a float32 row for zero below them. */
#define LEAST_NORM (10.0 * FLT_EPSILON)

static void read_kind(fl_load *load, fl_operation *operation, uint32_t kinds)
{
    operation->parts.kind = fl_read_u32(load);
    if (operation->parts.kind >= kinds)
        fl_refuse(load, FL_UNKNOWN);
}

void fl_read_curve(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    fl_read_nothing(load, operation, widths);
    read_kind(load, operation, CURVES);
}

void fl_read_norm(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    fl_read_nothing(load, operation, widths);
    read_kind(load, operation, NORMS);
}

static double logistic(double x)
{
    if (x > 700.0)
        x = 700.0;
    else if (x < -700.0)
        x = -700.0;
    return 1.0 / (1.0 + exp(-x));
}

static double curve(uint32_t kind, double x)
{
    switch (kind) {
    case RELU:
        return x < 0.0 ? 0.0 : x;
    case TANH:
        return tanh(x);
    case LOGISTIC:
        return logistic(x);
    case EXP:
        return exp(x);
    case LOG:
        return log(x);
    case SQRT:
        return sqrt(x);
    case SQUARE:
        return x * x;
    case ABS:
        return fabs(x);
    case LOG1P:
        return log1p(x);
    case EXPM1:
        return expm1(x);
    default:
        return 1.0 / x;
    }
}

void fl_run_curve(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    const float *x = operation->taken[0];
    if (operation->parts.kind == RELU) { /* a loop that the compiler turns into vectors */
        for (uint32_t i = 0; i < operation->width; i++)
            operation->vector[i] = x[i] < 0.0F ? 0.0F : x[i];
        return;
    }
    for (uint32_t i = 0; i < operation->width; i++)
        operation->vector[i] = (float)curve(operation->parts.kind, (double)x[i]);
}

/* The first NaN, as numpy has it, else the first of the greatest. */
static uint32_t greatest(const float *x, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (isnan(x[i]))
            return i;
        if (x[i] > x[best])
            best = i;
    }
    return best;
}

void fl_run_softmax(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    const float *x = operation->taken[0];
    const double top = (double)x[greatest(x, operation->width)];
    double sum = 0.0;
    for (uint32_t i = 0; i < operation->width; i++)
        sum += exp((double)x[i] - top);
    /* The powers once more: keeping them in float32 would lose digits. */
    for (uint32_t i = 0; i < operation->width; i++)
        operation->vector[i] = (float)(exp((double)x[i] - top) / sum);
}

void fl_run_proportions(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    const float *x = operation->taken[0];
    double sum = 0.0;
    for (uint32_t i = 0; i < operation->width; i++)
        sum += (double)x[i];
    for (uint32_t i = 0; i < operation->width; i++)
        operation->vector[i] = (float)(sum == 0.0 ? 1.0 / operation->width : (double)x[i] / sum);
}

void fl_run_normalise(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    const float *x = operation->taken[0];
    double norm = 0.0;
    for (uint32_t i = 0; i < operation->width; i++) {
        const double size = fabs((double)x[i]);
        if (operation->parts.kind == MAX)
            norm = isnan(norm) || norm >= size ? norm : size;
        else
            norm += operation->parts.kind == L1 ? size : size * size;
    }
    if (operation->parts.kind == L2)
        norm = sqrt(norm);
    for (uint32_t i = 0; i < operation->width; i++)
        operation->vector[i] = (float)(norm < LEAST_NORM ? (double)x[i] : (double)x[i] / norm);
}

void fl_run_arg_max(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    const uint32_t best = greatest(operation->taken[0], operation->width);
    for (uint32_t i = 0; i < operation->width; i++)
        operation->vector[i] = i == best ? 1.0F : 0.0F;
}
