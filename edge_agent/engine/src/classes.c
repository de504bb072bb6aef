/* What support vector machines make of one decision a pair of classes. */
#include <math.h>

#include "model.h"

/* libsvm's numbers (svm.cpp, multiclass_probability). */
#define LEAST_PAIR 1e-7
#define LEAST_ROUNDS 100u
#define COUPLING_ERROR 0.005

void fl_read_pairs(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    const uint64_t n = operation->width;
    if (n < 2 || n * (n - 1) / 2 != widths[0])
        fl_refuse(load, FL_BAD_SHAPE);
    const bool is_coupling = operation->kind == FL_COUPLING;
    const uint64_t rounds = n > LEAST_ROUNDS ? n : LEAST_ROUNDS;
    fl_add_work(load, is_coupling ? rounds * 2 * n * n : n * n);
    /* Two tables of pairs of classes and two vectors, or two vectors. */
    fl_need_scratch(load, (is_coupling ? 2 * n * n + 2 * n : 2 * n) * sizeof(double));
}

void fl_run_ovr_of_ovo(const fl_operation *operation, void *scratch)
{
    const uint32_t n = operation->width;
    const float *pair = operation->taken[0];
    double *votes = scratch, *confidence = votes + n;
    memset(votes, 0, 2 * (size_t)n * sizeof *votes);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = i + 1; j < n; j++, pair++) {
            const double decision = (double)*pair;
            confidence[i] -= decision;
            confidence[j] += decision;
            votes[i] += decision <= 0.0 ? 1.0 : 0.0;
            votes[j] += decision > 0.0 ? 1.0 : 0.0;
        }
    }
    for (uint32_t i = 0; i < n; i++)
        operation->vector[i] = (float)(votes[i] + confidence[i] / (3.0 * (fabs(confidence[i]) + 1.0)));
}

/* r[i][j]: probability of i against j. q: the quadratic form whose least value is sought. */
static void fill_tables(const float *pair, double *r, double *q, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = i + 1; j < n; j++, pair++) {
            double value = (double)*pair;
            value = value < LEAST_PAIR ? LEAST_PAIR : value > 1.0 - LEAST_PAIR ? 1.0 - LEAST_PAIR : value;
            r[i * n + j] = value;
            r[j * n + i] = 1.0 - value;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        double sum = 0.0;
        for (uint32_t j = 0; j < n; j++) {
            if (j != i) {
                sum += r[j * n + i] * r[j * n + i];
                q[i * n + j] = -r[j * n + i] * r[i * n + j];
            }
        }
        q[i * n + i] = sum;
    }
}

static double multiply(const double *q, const double *p, double *qp, uint32_t n)
{
    double pqp = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        qp[i] = 0.0;
        for (uint32_t j = 0; j < n; j++)
            qp[i] += q[i * n + j] * p[j];
        pqp += p[i] * qp[i];
    }
    return pqp;
}

void fl_run_coupling(const fl_operation *operation, void *scratch)
{
    const uint32_t n = operation->width, rounds = n > LEAST_ROUNDS ? n : LEAST_ROUNDS;
    double *r = scratch, *q = r + (size_t)n * n, *p = q + (size_t)n * n, *qp = p + n;
    fill_tables(operation->taken[0], r, q, n);
    for (uint32_t i = 0; i < n; i++)
        p[i] = 1.0 / n;
    for (uint32_t round = 0; round < rounds; round++) {
        double pqp = multiply(q, p, qp, n);
        bool is_settled = true; /* NaN never is */
        for (uint32_t i = 0; i < n; i++)
            is_settled = is_settled && fabs(qp[i] - pqp) < COUPLING_ERROR / n;
        if (is_settled)
            break;
        for (uint32_t t = 0; t < n; t++) {
            const double step = (-qp[t] + pqp) / q[t * n + t];
            p[t] += step;
            pqp = (pqp + step * (step * q[t * n + t] + 2.0 * qp[t])) / ((1.0 + step) * (1.0 + step));
            for (uint32_t j = 0; j < n; j++) {
                qp[j] = (qp[j] + step * q[t * n + j]) / (1.0 + step);
                p[j] /= 1.0 + step;
            }
        }
    }
    for (uint32_t i = 0; i < n; i++)
        operation->vector[i] = (float)p[i];
}
