"""What a fuzzer feeds to the parts that read what strangers write, and what must hold whatever it is.

`targets` has a function a part: bytes in, an exception when a law is broken. `make fuzz` runs them under
atheris, which looks for inputs that reach new code; `test_targets` feeds them in each run of the tests.
"""
