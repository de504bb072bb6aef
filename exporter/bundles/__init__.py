"""What people do with bundles, as folders or packed in one file: pack, unpack, inspect, verify, compare."""
