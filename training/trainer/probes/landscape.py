from training.trainer.probes.probe import Probe


class LandscapeProbe(Probe):
    pass
