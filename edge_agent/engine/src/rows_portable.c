/* The numbers of a row on any processor: vectors as wide as every one of an architecture has them, or none. */
#define FL_WIDTH 2
#include "rows_lanes.h"

const fl_rows_ways *fl_rows_portable(void)
{
    return &ways;
}
