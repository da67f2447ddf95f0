<?php
require __DIR__ . '/common.php';
must_be_in();
$path = files_folder() . '/' . basename((string) ($_GET['name'] ?? ''));
if (!is_file($path)) {
    http_response_code(404);
    exit("No such coat.\n");
}
header('Content-Type: application/octet-stream');
header('Content-Disposition: attachment; filename="' . basename($path) . '"');
header('Content-Length: ' . filesize($path));
readfile($path);
