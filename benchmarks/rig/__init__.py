"""What serving benchmarks need around the measurement: servers, images, load generators."""
