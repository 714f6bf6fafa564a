from training.trainer.probes.probe import Probe


class LayerProbe(Probe):
    pass
