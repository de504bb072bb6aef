"""Batch scoring: a file of rows in, a file of answers out, in parts that outlive a kill.

Memory does not grow with the file: rows are read, scored and written a part at a time. Arrow's types stay in here.
"""
