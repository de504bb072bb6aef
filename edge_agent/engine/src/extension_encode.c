/* Takes rows of Python values into a block.
 *
 * What is unusual in a row is left to Python: `encode` stops at such a row, and edge_agent/scoring/schema.py, which has all
 * the rules and all the words, decides it. */
#include "extension_rows.h"

static bool read_text(PyObject *value, double *number)
{
    Py_ssize_t length;
    const char *text = PyUnicode_AsUTF8AndSize(value, &length);
    if (text == NULL) {
        PyErr_Clear();
        return false;
    }
    while (length > 0 && *text == ' ') {
        text++;
        length--;
    }
    if (length == 0) {
        *number = (double)NAN;
        return true;
    }
    if (fl_read_decimal(text, (size_t)length, number))
        return true;
    /* float() takes more than this, and Python shall say what of it is meant; here plain numbers only. */
    for (Py_ssize_t i = 0; i < length; i++)
        if (strchr("0123456789.eE+-", text[i]) == NULL || text[i] == '\0')
            return false;
    *number = PyOS_string_to_double(text, NULL, NULL);
    if (*number == -1.0 && PyErr_Occurred() != NULL) {
        PyErr_Clear();
        return false;
    }
    return true;
}

/* A value that is no float. */
static bool read_value(PyObject *value, double *number)
{
    if (value->ob_type == &PyUnicode_Type)
        return read_text(value, number);
    if (value == &_Py_NoneStruct) {
        *number = (double)NAN;
        return true;
    }
    if (value->ob_type != &PyLong_Type)
        return false;
    *number = PyLong_AsDouble(value);
    if (*number == -1.0 && PyErr_Occurred() != NULL) {
        PyErr_Clear();
        return false;
    }
    return true;
}

static bool read_category(PyObject *value, PyObject *names, double *number)
{
    if (value->ob_type != &PyUnicode_Type)
        return false;
    PyObject *index = PyDict_GetItemWithError(names, value);
    if (index == NULL) {
        PyErr_Clear();
        return false;
    }
    *number = PyFloat_AsDouble(index);
    return true;
}

/* Look at numbers of which one is missing or out of range, each by its rule; false: Python must look at the row. */
static bool judge(rows_object *self, uint32_t place)
{
    const uint32_t n = self->block.n_features;
    const double *values = self->block.values + (size_t)place * n;
    uint8_t *outside = self->block.outside + (size_t)place * n;
    fl_row *row = self->block.rows + place;
    memset(outside, 0, n);
    for (uint32_t i = 0; i < n; i++) {
        if (isnan(values[i])) {
            if (self->flags[i] & REFUSES_MISSING)
                return false;
            row->has_missing = 1;
        } else if (fabs(values[i]) > (double)FLT_MAX) {
            return false;
        } else if (values[i] < self->low[i] || values[i] > self->high[i]) {
            if (self->flags[i] & REFUSES_OUTSIDE)
                return false;
            outside[i] = row->has_outside = 1;
        }
    }
    return true;
}

/* Encode one row into its place; false: Python must look at it. */
static bool take(rows_object *self, uint32_t place, PyObject *raw)
{
    fl_rows *block = &self->block;
    const uint32_t n = block->n_features;
    double *values = block->values + (size_t)place * n;
    fl_row *row = block->rows + place;
    const bool is_list = raw->ob_type == &PyList_Type;
    row->state = FL_ROW_NONE;
    row->has_missing = row->has_outside = 0;
    if (!is_list && raw->ob_type != &PyTuple_Type)
        return false;
    if ((is_list ? PyList_Size(raw) : PyTuple_Size(raw)) != (Py_ssize_t)n)
        return false;
    PyObject *const *items = self->knows_objects ? fl_items(raw, is_list) : NULL;
    for (uint32_t i = 0; i < n; i++) {
        PyObject *value = items ? items[i] : is_list ? PyList_GetItem(raw, i) : PyTuple_GetItem(raw, i);
        if (self->flags[i] & A_CATEGORY) {
            if (!read_category(value, PyTuple_GetItem(self->categories, i), values + i))
                return false;
        } else if (value->ob_type == &PyFloat_Type) {
            values[i] = items ? fl_number(value) : PyFloat_AsDouble(value);
        } else if (!read_value(value, values + i)) {
            return false;
        }
    }
    if (!block->ways->check(values, self->low, self->high, self->rows + (size_t)place * n, n) && !judge(self, place))
        return false;
    row->state = FL_ROW_TAKEN;
    return true;
}

static void empty(rows_object *self, uint32_t place)
{
    /* It may be scored together with its neighbours: zeros are what every model was tried with. */
    self->block.rows[place].state = FL_ROW_NONE;
    memset(self->rows + (size_t)place * self->block.n_features, 0, self->block.n_features * sizeof(float));
}

PyObject *fl_block_encode(PyObject *object, PyObject *const *arguments, Py_ssize_t n_arguments)
{
    rows_object *self = (rows_object *)object;
    if (n_arguments != 2) {
        PyErr_SetString(PyExc_TypeError, "encode(rows, start)");
        return NULL;
    }
    const Py_ssize_t n = fl_rows_of(self, arguments[0]);
    Py_ssize_t place = PyLong_AsSsize_t(arguments[1]);
    if (n < 0 || PyErr_Occurred() != NULL || (place < n && !fl_is_place(self, place)))
        return NULL;
    for (; place < n && place < PyList_Size(arguments[0]); place++) {
        PyObject *values = fl_of_row(arguments[0], place, fl_name_of_values);
        if (values == NULL)
            return NULL;
        const bool is_taken = take(self, (uint32_t)place, values);
        Py_DecRef(values);
        if (!is_taken) {
            empty(self, (uint32_t)place);
            break;
        }
    }
    return PyLong_FromSsize_t(place);
}

PyObject *fl_block_put(PyObject *object, PyObject *const *arguments, Py_ssize_t n_arguments)
{
    rows_object *self = (rows_object *)object;
    fl_rows *block = &self->block;
    if (n_arguments != 3 || arguments[1]->ob_type != &PyList_Type || arguments[2]->ob_type != &PyList_Type ||
        PyList_Size(arguments[1]) != (Py_ssize_t)block->n_features) {
        PyErr_SetString(PyExc_TypeError, "put(place, values, out_of_range): two lists");
        return NULL;
    }
    const Py_ssize_t place = PyLong_AsSsize_t(arguments[0]);
    if (!fl_is_place(self, place))
        return NULL;
    fl_row *row = block->rows + place;
    double *values = block->values + (size_t)place * block->n_features;
    uint8_t *outside = block->outside + (size_t)place * block->n_features;
    empty(self, (uint32_t)place);
    memset(outside, 0, block->n_features);
    row->has_missing = row->has_outside = 0;
    for (uint32_t i = 0; i < block->n_features; i++) {
        const double number = PyFloat_AsDouble(PyList_GetItem(arguments[1], i));
        if (number == -1.0 && PyErr_Occurred() != NULL)
            return NULL;
        /* What is rounded to the greatest number of float32 is let pass, as by struct and by the runtimes. */
        if (isinf((float)number)) {
            PyErr_Format(PyExc_OverflowError, "value %zd of the row does not fit into float32", (Py_ssize_t)i);
            return NULL;
        }
        row->has_missing |= isnan(number) != 0;
        values[i] = number;
        self->rows[(size_t)place * block->n_features + i] = (float)number;
    }
    for (Py_ssize_t i = 0; i < PyList_Size(arguments[2]); i++) {
        const Py_ssize_t feature = PyLong_AsSsize_t(PyList_GetItem(arguments[2], i));
        if (feature < 0 || feature >= (Py_ssize_t)block->n_features) {
            if (PyErr_Occurred() == NULL)
                PyErr_SetString(PyExc_ValueError, "no such feature");
            return NULL;
        }
        outside[feature] = row->has_outside = 1;
    }
    row->state = FL_ROW_TAKEN;
    return fl_none();
}
