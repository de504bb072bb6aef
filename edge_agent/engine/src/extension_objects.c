#include "extension_objects.h"

/* The first version of Python whose objects nobody has compared yet: 3.15. */
#define FIRST_UNKNOWN 0x030f0000UL

bool fl_knows_objects = false;
unsigned int fl_tuple_skips = 0;

static const double numbers[] = {-0.1, 1e300, 7.0};
enum { N_NUMBERS = sizeof numbers / sizeof *numbers };

static bool are_floats(PyObject *const *floats)
{
    bool found = true;
    for (int i = 0; i < N_NUMBERS; i++)
        found = found && memcmp(&((fl_float_object *)(void *)floats[i])->number, numbers + i, sizeof *numbers) == 0;
    return found;
}

/* Whether a tuple's items stand behind so many words; looks no further than its last one. */
static bool skips(PyObject *tuple, PyObject *const *items, unsigned int n)
{
    PyObject *const *found = ((fl_tuple_object *)(void *)tuple)->items + n;
    return memcmp(found, items, (N_NUMBERS - n) * sizeof *items) == 0;
}

static void learn(PyObject *tuple, PyObject *list, PyObject *const *items)
{
    const bool sizes = ((fl_tuple_object *)(void *)tuple)->size == N_NUMBERS && ((fl_list_object *)(void *)list)->size == N_NUMBERS;
    if (!sizes || !are_floats(items) || memcmp(((fl_list_object *)(void *)list)->items, items, N_NUMBERS * sizeof *items) != 0)
        return;
    fl_tuple_skips = skips(tuple, items, 0) ? 0 : 1;
    fl_knows_objects = skips(tuple, items, fl_tuple_skips);
}

bool fl_learn_objects(void)
{
    PyObject *tuple = PyTuple_New(N_NUMBERS), *list = PyList_New(0), *items[N_NUMBERS];
    bool is_made = tuple != NULL && list != NULL;
    for (int i = 0; i < N_NUMBERS; i++) {
        items[i] = is_made ? PyFloat_FromDouble(numbers[i]) : NULL;
        is_made = items[i] != NULL && PyList_Append(list, items[i]) == 0;
        /* The tuple takes the reference over. */
        if (items[i] != NULL)
            PyTuple_SetItem(tuple, i, items[i]);
    }
    if (is_made && Py_Version < FIRST_UNKNOWN)
        learn(tuple, list, items);
    Py_DecRef(list);
    Py_DecRef(tuple);
    return is_made;
}
