/* Reads numbers, tuples and lists where they lie in memory.
 *
 * The stable ABI has a function for each item and for each number: two calls a value, most of the time of encoding a row.
 * How these objects lie hardly ever changes, but nobody promises it. So it is read only in versions of Python that are known
 * (a test compares with their headers), and only after a look at objects whose contents are known; else, the functions are
 * called. */
#ifndef FIELDLOOP_EXTENSION_OBJECTS_H
#define FIELDLOOP_EXTENSION_OBJECTS_H

#include <stdbool.h>
#include <string.h>

#include "extension.h"

typedef struct {
    PyObject base;
    double number;
} fl_float_object;

typedef struct {
    PyObject base;
    Py_ssize_t size;
    PyObject *items[]; /* or one word later, where tuples remember their hash: `fl_tuple_skips` */
} fl_tuple_object;

typedef struct {
    PyObject base;
    Py_ssize_t size;
    PyObject **items;
} fl_list_object;

/* Whether objects lie as they are declared here; what `fl_learn_objects` found. */
extern bool fl_knows_objects;
/* How many words stand before the items of a tuple, 0 or 1. */
extern unsigned int fl_tuple_skips;

/* Find out; called once, by the module as it is loaded. False: Python has no memory for it, and says so. */
bool fl_learn_objects(void);

/* The items of a tuple or a list, where that is known; they stay while the lock is held and no code of Python runs. */
static inline PyObject *const *fl_items(PyObject *sequence, bool is_list)
{
    return is_list ? ((fl_list_object *)(void *)sequence)->items
                   : ((fl_tuple_object *)(void *)sequence)->items + fl_tuple_skips;
}

/* What a float, and no object of a class derived from it, holds, where that is known. */
static inline double fl_number(PyObject *value)
{
    return ((fl_float_object *)(void *)value)->number;
}

#endif
