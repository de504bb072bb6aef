#include "extension_objects.h"

/* The first version of Python whose objects nobody has compared yet: 3.15. */
#define FIRST_UNKNOWN 0x030f0000UL

bool fl_knows_objects = false;

static bool is_float(PyObject *value, double number)
{
    return memcmp(&((fl_float_object *)(void *)value)->number, &number, sizeof number) == 0;
}

bool fl_learn_objects(void)
{
    PyObject *tuple = PyTuple_New(2), *list = PyList_New(0);
    PyObject *one = PyFloat_FromDouble(-0.1), *other = PyFloat_FromDouble(1e300);
    bool is_made = tuple != NULL && list != NULL && one != NULL && other != NULL;
    is_made = is_made && PyList_Append(list, one) == 0 && PyList_Append(list, other) == 0;
    if (is_made && Py_Version < FIRST_UNKNOWN) {
        const fl_tuple_object *a_tuple = (const fl_tuple_object *)(const void *)tuple;
        const fl_list_object *a_list = (const fl_list_object *)(const void *)list;
        /* The tuple takes the references over. */
        PyTuple_SetItem(tuple, 0, one);
        PyTuple_SetItem(tuple, 1, other);
        fl_knows_objects = is_float(one, -0.1) && is_float(other, 1e300) && a_tuple->size == 2 && a_tuple->items[0] == one &&
                           a_tuple->items[1] == other && a_list->size == 2 && a_list->items[0] == one &&
                           a_list->items[1] == other;
        one = other = NULL;
    }
    Py_DecRef(one);
    Py_DecRef(other);
    Py_DecRef(list);
    Py_DecRef(tuple);
    return is_made;
}
