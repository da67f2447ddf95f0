<?php
require __DIR__ . '/common.php';
must_be_in();
$sent = $_FILES['file'] ?? null;
$name = preg_replace('/[^A-Za-z0-9._-]/', '_', basename($sent['name'] ?? ''));
if ($sent === null || $sent['error'] !== UPLOAD_ERR_OK || ltrim($name, '.') === '') {
    http_response_code(400);
    exit("Nothing came.\n");
}
move_uploaded_file($sent['tmp_name'], files_folder() . '/' . ltrim($name, '.'));
$_SESSION['said'] = "Kept $name: " . ($_POST['note'] ?? '');
go('index.php');
