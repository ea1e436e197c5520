"""What the picker costs: the real Envoy, fake replicas, and the picker with each transport in turn.

__main__   flags, table, file
course     which measurement comes when: rounds, and in each of them from side to side
measuring  the measurements: what traffic, for how long
ground     what they run on: replicas, load generator, and for each side an Envoy and a picker
load       the load generator, a program of its own
replicas   the fake replicas, another one
prompts    the bodies that are sent
page       the metrics page of the replicas
filling    how the prefix index gets full
meter      CPU time and memory of a process
sheet      readings → figures with budgets
show       the progress bar
http1      where an HTTP message ends, for both programs
"""
