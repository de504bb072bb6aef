"""From a fitted model to a proven, signed and published bundle.

Takes an object or a file, and calibration rows; knows no registry and no MQTT. Import what you need by its full path.
"""
