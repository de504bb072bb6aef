/* Writes the answers of a block down, one line of JSON for each row that was counted: sensing/answer_lines.py. */
#include "extension_rows.h"

typedef struct {
    char *bytes;
    size_t used, size;
    bool is_broken;
} text;

static void append(text *to, const char *bytes, size_t n)
{
    if (n == 0)
        return;
    if (to->used + n > to->size) {
        const size_t size = 2 * to->size + n + 4096;
        char *grown = to->is_broken ? NULL : realloc(to->bytes, size);
        if (grown == NULL) {
            to->is_broken = true;
            return;
        }
        to->bytes = grown;
        to->size = size;
    }
    memcpy(to->bytes + to->used, bytes, n);
    to->used += n;
}

/* Append once more what begins so many characters before the end; at most 24. */
static void append_again(text *to, size_t from_end, size_t n)
{
    char copy[24];
    if (to->is_broken || n > sizeof copy)
        return;
    memcpy(copy, to->bytes + to->used - from_end, n);
    append(to, copy, n);
}

/* Append a number; return how many characters it has. */
static size_t append_whole(text *to, long long number)
{
    char digits[24];
    size_t at = sizeof digits;
    unsigned long long rest = number < 0 ? 0ULL - (unsigned long long)number : (unsigned long long)number;
    do
        digits[--at] = (char)('0' + rest % 10);
    while ((rest /= 10) != 0);
    if (number < 0)
        digits[--at] = '-';
    append(to, digits + at, sizeof digits - at);
    return sizeof digits - at;
}

/* A number from 0 to 1, with six places at most. */
static void append_share(text *to, double share)
{
    unsigned long parts = (unsigned long)nearbyint(share * 1e6);
    char digits[9] = "0.000000";
    size_t n = 8;
    digits[0] = parts >= 1000000 ? '1' : '0';
    parts %= 1000000;
    for (size_t at = 7; at > 1; at--, parts /= 10)
        digits[at] = (char)('0' + parts % 10);
    while (n > 3 && digits[n - 1] == '0')
        n--;
    append(to, digits, n);
}

static void append_double(text *to, double number)
{
    char *digits = PyOS_double_to_string(number, 'r', 0, 2 /* Py_DTSF_ADD_DOT_0 */, NULL);
    if (digits == NULL)
        to->is_broken = true;
    else
        append(to, digits, strlen(digits));
    PyMem_Free(digits);
}

static void append_bytes(text *to, PyObject *bytes)
{
    char *characters;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(bytes, &characters, &length) != 0)
        to->is_broken = true;
    else
        append(to, characters, (size_t)length);
}

/* lines(rows, begins, middle, labels): one line of JSON for each row that was counted, as sensing/answer_lines.py says. */
PyObject *fl_block_lines(PyObject *object, PyObject *const *arguments, Py_ssize_t n_arguments)
{
    rows_object *self = (rows_object *)object;
    const fl_rows *block = &self->block;
    if (n_arguments != 5 || arguments[3]->ob_type != &PyTuple_Type ||
        PyTuple_Size(arguments[3]) != (Py_ssize_t)(block->is_classification ? block->n_outputs : 1)) {
        PyErr_SetString(PyExc_TypeError, "lines(rows, begin, middle, labels, abstain_below)");
        return NULL;
    }
    const double abstain_below = PyFloat_AsDouble(arguments[4]);
    const Py_ssize_t n = fl_rows_of(self, arguments[0]);
    char *begin, *middle;
    Py_ssize_t begin_length, middle_length;
    text made = {0};
    if (n < 0 || PyErr_Occurred() != NULL || PyBytes_AsStringAndSize(arguments[1], &begin, &begin_length) != 0 ||
        PyBytes_AsStringAndSize(arguments[2], &middle, &middle_length) != 0)
        return NULL;
    for (Py_ssize_t place = 0; place < n && !made.is_broken && place < PyList_Size(arguments[0]); place++) {
        const fl_row *row = block->rows + place;
        if (row->state != FL_ROW_COUNTED)
            continue;
        PyObject *number = fl_of_row(arguments[0], place, fl_name_of_number);
        const long long whole = number ? PyLong_AsLongLong(number) : -1;
        Py_DecRef(number);
        if (whole == -1 && PyErr_Occurred() != NULL)
            break;
        const bool abstains = block->is_classification && row->confidence < abstain_below;
        append(&made, begin, (size_t)begin_length);
        const size_t n_digits = append_whole(&made, whole);
        append(&made, "\",\"row\":", 8);
        append_again(&made, 8 + n_digits, n_digits);
        append(&made, middle, (size_t)middle_length);
        if (abstains)
            append(&made, "\"label\":null", 12);
        else
            append_bytes(&made, PyTuple_GetItem(arguments[3], block->is_classification ? row->label : 0));
        if (!block->is_classification)
            append_double(&made, row->value);
        append(&made, ",\"confidence\":", 14);
        append_share(&made, row->confidence);
        append(&made, abstains ? ",\"abstained\":true}\n" : "}\n", abstains ? 19 : 2);
    }
    PyObject *lines = NULL;
    if (PyErr_Occurred() == NULL)
        lines = made.is_broken ? PyErr_NoMemory() : PyBytes_FromStringAndSize(made.bytes, (Py_ssize_t)made.used);
    free(made.bytes);
    return lines;
}
