"""The analog read path: what lies between digital numbers and a crossbar's matrix product.

Inputs pass a digital-to-analog converter (DAC), the array multiplies, outputs pass an
analog-to-digital converter (ADC). `ReadPath` says how well each of them works.
"""

from sptrack.periphery.mvm import analog_mvm, draws, read_columns
from sptrack.periphery.read_path import ReadPath, ReadPaths, average_abs_max, table_6

__all__ = [
    "ReadPath",
    "ReadPaths",
    "analog_mvm",
    "average_abs_max",
    "draws",
    "read_columns",
    "table_6",
]
