"""What ours is compared with: detectors of PyOD, and training loops."""
