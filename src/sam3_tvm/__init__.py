"""SAM 3 compiled with Apache TVM."""
