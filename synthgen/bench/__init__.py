"""Measurements that a command runs and that leave a results page: `synthgen bench NAME`.

Light: each measurement's module is imported when its command runs.
"""
