"""The order in which features, training, the gate and the release run, on one machine and on Kubeflow."""
